from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from signs_tools import ID, signs_in

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.readers.signs.collapse import collapse
from leakhunt.readers.signs.systemd import FAILED, KILLED_BY_KERNEL, MAIN_KILLED

AT = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)

# As two real journals tell of three kills: each manager speaks, and so do the slices above.
NESTED = b"""\
Nov 21 03:10:40 h systemd[1]: user@1000.service: A process of this unit has been killed by the OOM killer.
Nov 21 03:10:40 h systemd[1291]: app.slice: A process of this unit has been killed by the OOM killer.
Nov 21 03:10:40 h systemd[1291]: worker.service: A process of this unit has been killed by the OOM killer.
Nov 21 03:10:41 h systemd[1291]: worker.service: Main process exited, code=killed, status=9/KILL
Nov 21 03:10:41 h systemd[1291]: worker.service: Failed with result 'oom-kill'.
Nov 21 03:11:40 h systemd[1291]: worker.service: A process of this unit has been killed by the OOM killer.
Nov 21 03:11:41 h systemd[1291]: worker.service: Failed with result 'oom-kill'.
Nov 21 03:12:01 h systemd[1]: -.slice: A process of this unit has been killed by the OOM killer.
Nov 21 03:12:02 h systemd[1]: user@1000.service: A process of this unit has been killed by the OOM killer.
Nov 21 03:12:30 h systemd[1291]: other.service: The kernel OOM killer killed some processes in this unit.
Nov 21 03:12:30 h systemd[1291]: other.service: Failed with result 'oom-kill'.
"""


def sign(
    unit: str, text: str = KILLED_BY_KERNEL, at: float = 0, source: str = "journal", **more: object
) -> Sign:
    """Return what systemd says of a unit."""
    kind = "sigkill" if text == MAIN_KILLED else "oom"
    made = Sign(
        kind, "systemd", Evidence(source, int(at) + 1, text), place=Place(host="h", unit=unit), text=text
    )
    return replace(made, when=AT + timedelta(seconds=at), **more)  # type: ignore[arg-type]


def test_ten_lines_are_three_deaths() -> None:
    """The slices and managers above a unit that died add nothing; each unit's own lines are one death."""
    deaths = collapse(signs_in(NESTED))
    assert [death.place.unit for death in deaths] == ["worker.service", "worker.service", "other.service"]
    first = deaths[0]
    assert (first.kind, first.killer, first.exit_code, first.count, first.at_least) == (
        "oom",
        "kernel",
        137,
        1,
        False,
    )
    assert first.evidence.text.endswith("Failed with result 'oom-kill'.")
    assert first.when is not None
    assert first.when.second == 40
    assert deaths[2].at_least


def test_without_a_leaf_the_deepest_unit_stands() -> None:
    """Where only units above speak, the deepest of them stands for a death at least."""
    told = [
        sign("-.slice"),
        sign("user.slice"),
        sign("user-1000.slice"),
        sign("user@1000.service", at=2),
        sign("app.slice", at=3),
    ]
    (death,) = collapse(told)
    assert (death.place.unit, death.at_least) == ("app.slice", True)


def test_a_user_and_a_service_are_two_deaths() -> None:
    """Slices of a user and those of services stand in two trees, whose deepest units stand for a death each."""
    told = [
        sign("user-1021.slice"),
        sign("system-postgresql.slice"),
        sign("user@1021.service"),
        sign("user.slice"),
        sign("system.slice"),
        sign("-.slice"),
    ]
    assert {death.place.unit for death in collapse(told)} == {"user@1021.service", "system-postgresql.slice"}


def test_systemd_oomd_and_its_manager_tell_of_one_death() -> None:
    """What systemd-oomd did, what PID 1 saw and how the unit ended are one death, with the number that PID 1 counted."""
    (death,) = collapse(
        signs_in(
            b"Nov 21 03:10:40 h systemd-oomd[9]: Killed /a.slice/w.scope due to memory pressure for /a.slice being 9.00% > "
            b"5.00% for > 20s with reclaim activity\n"
            b"Nov 21 03:10:40 h systemd[1]: w.scope: systemd-oomd killed 29 process(es) in this unit.\n"
            b"Nov 21 03:10:41 h systemd[1]: w.scope: Failed with result 'oom-kill'.\n"
        )
    )
    assert (death.kind, death.program, death.count, death.at_least) == ("killed", "systemd-oomd", 29, False)
    assert death.place.cgroup == "/a.slice/w.scope"


def test_the_same_entry_out_of_two_files_counts_once() -> None:
    """A line of the system's journal and its copy in another file are one; two such lines of one file are two deaths."""
    twice = [sign("a.service"), sign("a.service", source="copy")]
    assert len(collapse(twice)) == 1
    assert len(collapse([sign("a.service"), sign("a.service", at=0.0)])) == 2


def test_hosts_and_times_are_kept_apart() -> None:
    """Units of two machines, and deaths a day apart, are never put together."""
    other = replace(sign("a.service", FAILED), place=Place(host="other", unit="a.service"))
    assert len(collapse([sign("a.service"), other, sign("a.service", FAILED, at=86400)])) == 3


def test_a_burst_of_one_container_is_one_death_at_least() -> None:
    """Docker repeats its news within milliseconds; later news is of another death."""
    news = Sign("oom", "docker", Evidence("e", 1, ""), place=Place(container_id=ID), when=AT)
    burst = [replace(news, when=AT + timedelta(milliseconds=3 * n)) for n in range(5)]
    later = replace(news, when=AT + timedelta(minutes=1))
    first, second = collapse([*burst, later])
    assert (first.at_least, second.at_least) == (True, False)


UNITS = ("a.service", "b.scope", "app.slice", "user@1000.service", "-.slice")
TOLD = st.lists(
    st.builds(
        sign,
        st.sampled_from(UNITS),
        st.sampled_from((KILLED_BY_KERNEL, MAIN_KILLED, FAILED)),
        st.integers(0, 2000),
    ),
    max_size=20,
)


@given(TOLD)
def test_nothing_is_invented_and_nobody_forgotten(told: list[Sign]) -> None:
    """No unit appears that was not told of, and every unit that stands above none keeps a death."""
    deaths = collapse(told)
    assert len(deaths) <= len(told)
    named = {death.place.unit for death in deaths}
    assert named <= {one.place.unit for one in told}
    assert named >= {one.place.unit for one in told} & {"a.service", "b.scope"}
    assert bool(deaths) == bool(told)


@given(TOLD)
def test_collapsing_again_changes_nothing_that_has_a_leaf(told: list[Sign]) -> None:
    """The deaths of units that stand above none are left as they are by a second pass, or put together further."""
    once = collapse(told)
    assert len(collapse(once)) <= len(once)


def test_many_signs_take_linear_time() -> None:
    """Twenty thousand lines of one unit are put together without comparing each with each."""
    told = [sign("a.service", at=n) for n in range(20_000)] + [sign("app.slice", at=n) for n in range(20_000)]
    assert len(collapse(told)) == 20_000
