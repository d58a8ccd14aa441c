from __future__ import annotations

import pytest
from incident import (
    GENERATIONS,
    PREFIXES,
    TELLS_MONOTONIC,
    WRAPPINGS,
    Generation,
    Incident,
    check,
    kills_of,
    stamped,
    text_log,
    told,
)

GENERATION = pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)


@GENERATION
@pytest.mark.parametrize("memcg", [True, False], ids=["memcg", "global"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_kernel_in_every_log(prefix: str, memcg: bool, generation: Generation) -> None:
    """A kill is read back whole from a report of any kernel behind any prefix."""
    incident = Incident(memcg=memcg)
    lines = stamped(told(incident, generation), PREFIXES[prefix], incident.monotonic)
    (kill,) = kills_of(text_log(lines))
    check(kill, incident, generation)
    assert len(kill.tasks) == 2
    assert (kill.monotonic is not None) == (prefix in TELLS_MONOTONIC)
    assert set(kill.missing) <= {"dropped lines", "page size"}


@GENERATION
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_kernel_in_every_wrapping(wrapping: str, generation: Generation) -> None:
    """A kill is read back whole from a report inside JSON, journal entries or a container's log."""
    incident = Incident()
    (kill,) = kills_of(WRAPPINGS[wrapping](told(incident, generation), incident.monotonic))
    check(kill, incident, generation)
    assert len(kill.tasks) == 2


@GENERATION
@pytest.mark.parametrize("step", [1, 7, 100, 4096])
def test_the_steps_of_the_input_do_not_matter(step: int, generation: Generation) -> None:
    """Bytes give the same kill however they arrive."""
    incident = Incident()
    lines = stamped(["boot"] * 50 + told(incident, generation), PREFIXES["rsyslog"], incident.monotonic)
    (kill,) = kills_of(text_log(lines), step)
    check(kill, incident, generation)
    assert kill.evidence[0].line == 51
    assert kill.evidence[-1].line == next(n for n, line in enumerate(lines, 1) if "illed process" in line)
