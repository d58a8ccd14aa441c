from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.settings import SAFE, TAKEN, Level, Settings, parse_level, parse_signal
from leakhunt.errors import LeakhuntError

SETTINGS = st.builds(
    Settings,
    agent=st.booleans(),
    trace=st.booleans(),
    frames=st.integers(1, 65_535),
    signal=st.sampled_from([int(signal.Signals[f"SIG{name}"]) for name in SAFE]),
    every=st.integers(0, 10**9),
    interval=st.integers(0, 10**6).map(float),
    at_rss=st.none()
    | st.integers(2**20, 2**50).map(lambda size: Level(size=size))
    | st.integers(1, 100).map(lambda percent: Level(share=percent / 100)),
    each_growth=st.integers(0, 2**50),
    at_exit=st.booleans(),
    keep=st.integers(1, 10**6),
    budget=st.integers(0, 10**17),
    total=st.integers(0, 10**17),
    folder=st.just("") | st.just("/var/lib/leakhunt"),
    record=st.booleans(),
    record_budget=st.integers(0, 10**17),
)


@given(SETTINGS)
def test_variables_say_all_that_settings_say(settings: Settings) -> None:
    """Settings turned into variables and read again are the same."""
    assert Settings.from_environment(settings.to_environment()) == settings


def test_nothing_is_asked_for_without_variables() -> None:
    """An environment that says nothing asks for nothing, and defaults are not written."""
    assert not Settings.from_environment({"PATH": "/bin", "LEAKHUNT_SAID": "x"}).active
    assert Settings().to_environment() == {}


@pytest.mark.parametrize("name", ["AGENT", "TRACE", "RECORD", "AT_EXIT"])
def test_one_switch_makes_the_agent_active(name: str) -> None:
    """Each of the things that can be asked for is enough."""
    assert Settings.from_environment({f"LEAKHUNT_{name}": "yes"}).active


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AGENT", "maybe"),
        ("FRAMES", "0"),
        ("FRAMES", "65536"),
        ("KEEP", "0"),
        ("EVERY", "-1"),
        ("AT_RSS", "120%"),
        ("AT_RSS", "much"),
        ("BUDGET", "1 parsec"),
        ("INTERVAL", "soon"),
        ("SIGNAL", "USR1"),
    ],
)
def test_a_variable_that_is_not_understood_is_refused(name: str, text: str) -> None:
    """A wrong value is an error that says what to write, not another exception."""
    with pytest.raises(LeakhuntError) as caught:
        Settings.from_environment({f"LEAKHUNT_{name}": text})
    assert caught.value.hint


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_signals_that_others_need_are_refused(name: str) -> None:
    """No signal of Celery, its pool or Python can be chosen, whichever way it is written."""
    for text in (name, f"SIG{name}", name.lower()):
        if hasattr(signal, f"SIG{name}"):
            with pytest.raises(LeakhuntError, match=r"is not free|no signal"):
                parse_signal(text)


def test_levels_are_shares_or_sizes() -> None:
    """80% is a share of the limit, 1.5GiB is a size."""
    assert parse_level("80%") == Level(share=0.8)
    assert parse_level("1.5GiB") == Level(size=3 << 29)
    with pytest.raises(LeakhuntError, match="every process is above") as caught:
        parse_level("80")
    assert caught.value.hint == "80% of the limit, or 80MiB?"
