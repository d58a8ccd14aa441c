from __future__ import annotations

import pytest

from leakhunt.errors import LeakhuntError
from leakhunt.model.incident import Counter
from leakhunt.readers.signs.counters import counters, scope_of
from leakhunt.readers.signs.documents import COUNTERS, kind_of, read_document

EVENTS = "low 0\nhigh 0\nmax 41\noom 2\noom_kill 3\noom_group_kill 1\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"
VMSTAT = "nr_free_pages 1\nnr_zone_inactive_anon 2\nnr_dirty 3\noom_kill 5\n"


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/sys/fs/cgroup/system.slice/w.service/memory.events", "/system.slice/w.service"),
        ("/sys/fs/cgroup/unified/a/memory.events.local", "/a"),
        ("/sys/fs/cgroup/memory/docker/0a/memory.oom_control", "/docker/0a"),
        ("bundle/sys/fs/cgroup/memory.events", "/"),
        ("w.service/memory.events", ""),
        ("memory.events", ""),
        ("/proc/vmstat", "host"),
        ("anything.txt", "host"),
    ],
)
def test_the_name_tells_whose_counts_these_are(path: str, scope: str) -> None:
    """A control group's file names it, wherever the tree was copied to, but not a file copied alone; ``vmstat`` is the host's."""
    assert scope_of(path) == scope


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (
            EVENTS,
            "/sys/fs/cgroup/a/memory.events",
            [("oom", 2, "/a"), ("oom_kill", 3, "/a"), ("oom_group_kill", 1, "/a")],
        ),
        (CONTROL, "/sys/fs/cgroup/memory/b/memory.oom_control", [("oom_kill", 7, "/b")]),
        (VMSTAT, "/proc/vmstat", [("oom_kill", 5, "host")]),
    ],
)
def test_counts_of_kills_are_read(text: str, source: str, expected: list[tuple[str, int, str]]) -> None:
    """Each of the kernel's files is known by its first lines, and gives its counts of kills and nothing else."""
    assert kind_of(text.encode()) == COUNTERS
    assert list(read_document([text.encode()], source, COUNTERS)) == [
        Counter(source, name, value, scope) for name, value, scope in expected
    ]


def test_nonsense_is_passed_over() -> None:
    """Lines that are no counts, and numbers beyond all measure, are left out."""
    text = (
        "oom_kill\noom_kill x\noom_kill -1\n" + "oom_kill " + "9" * 50 + "\noom_kill 18446744073709551615\n"
    )
    assert [counter.value for counter in counters(text, "vmstat")] == [(1 << 64) - 1]


def test_a_file_of_counters_is_small() -> None:
    """A file that claims to hold counters and does not end is refused."""
    with pytest.raises(LeakhuntError, match="too large"):
        list(read_document((b"oom_kill 1\n" * 100_000 for _ in range(10)), "x", COUNTERS))
