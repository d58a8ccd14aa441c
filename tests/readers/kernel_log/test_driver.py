from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident import (
    BOOT,
    GENERATIONS,
    PREFIXES,
    WRAPPINGS,
    Incident,
    check,
    kills_of,
    stamped,
    text_log,
    told,
)
from test_kernel_log_cases import DECOYS, MODERN

from leakhunt.model.evidence import Evidence
from leakhunt.model.incident import Sign
from leakhunt.model.oom import OomKill, SourceSummary
from leakhunt.readers.kernel_log.buffers import LONGEST_LINE, buffers
from leakhunt.readers.kernel_log.grammar import WORDS, parse
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.kernel_log.scan import Options, scan


class Heard7:
    """A listener that takes every line with a 7 for a sign, and notes how it was called."""

    def __init__(self, reading: Reading) -> None:
        self.events: list[Heard] = []
        self.reading = reading
        self.calls: list[str] = []
        self.lines: list[tuple[int, bytes]] = []

    def read(self, data: bytes, first_line: int) -> None:
        """Take lines."""
        assert data.endswith(b"\n")
        self.calls.append("read")
        for number, line in enumerate(data[:-1].split(b"\n"), first_line):
            self.lines.append((number, line))
            if b"7" in line:
                self.events.append(Sign("oom", "test", Evidence(self.reading.source, number, repr(line))))

    def wakes(self) -> tuple[bytes, ...] | None:
        """Want all of it."""
        return None

    def pass_by(self, data: bytes, first_line: int) -> None:
        """Never be passed by."""
        raise AssertionError(data, first_line)

    def settle(self) -> None:
        """Note a pause."""
        self.calls.append("settle")

    def finish(self) -> None:
        """Note the end."""
        self.calls.append("finish")


def heard(data: bytes, step: int) -> tuple[Heard7, list[object]]:
    """Scan bytes in steps with a listener; returns it and the events."""
    made: list[Heard7] = []

    def make(reading: Reading) -> Heard7:
        made.append(Heard7(reading))
        return made[-1]

    events = list(scan((data[at : at + step] for at in range(0, len(data), step)), "log", None, [make]))
    return made[0], list(events)


@settings(deadline=None, max_examples=60)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=40),
    step=st.integers(1, 300),
    ended=st.booleans(),
)
def test_a_listener_hears_each_line_once(lines: list[bytes], step: int, ended: bool) -> None:
    """However the bytes arrive, every line comes once, in order, with its number, and then the end."""
    data = b"x\n" + b"\n".join(lines) + (b"\n" if ended and lines else b"")
    listener, events = heard(data, step)
    whole = data[:-1] if data.endswith(b"\n") else data
    assert listener.lines == list(enumerate(whole.split(b"\n"), 1))
    assert listener.calls[-1] == "finish"
    assert "settle" not in listener.calls
    summary = events[-1]
    assert isinstance(summary, SourceSummary)
    assert (summary.lines, summary.bytes) == (len(listener.lines), len(data))
    signs = [event for event in events if isinstance(event, Sign)]
    assert [sign.evidence.line for sign in signs] == [n for n, line in listener.lines if b"7" in line]


@settings(deadline=None, max_examples=60)
@given(
    lines=st.lists(st.text("x7\r ", max_size=12).map(str.encode), max_size=60),
    step=st.integers(1, 300),
)
def test_a_sleeper_is_passed_by_and_woken(lines: list[bytes], step: int) -> None:
    """Who sleeps reads each buffer that holds its word, and is told of the others: together all lines, in order."""

    class Sleeper(Heard7):
        def wakes(self) -> tuple[bytes, ...] | None:
            return (b"7",)

        def pass_by(self, data: bytes, first_line: int) -> None:
            assert b"7" not in data
            self.lines += enumerate(data[:-1].split(b"\n"), first_line)

    made: list[Sleeper] = []

    def make(reading: Reading) -> Sleeper:
        made.append(Sleeper(reading))
        return made[-1]

    data = b"x\n" + b"".join(line + b"\n" for line in lines)
    list(scan((data[at : at + step] for at in range(0, len(data), step)), "log", None, [make]))
    assert made[0].lines == list(enumerate(data[:-1].split(b"\n"), 1))


def test_a_pause_reaches_listeners() -> None:
    """An empty chunk lets what is complete be read, and then settles everyone."""
    made: list[Heard7] = []

    def make(reading: Reading) -> Heard7:
        made.append(Heard7(reading))
        return made[-1]

    chunks = iter([b"a 7\nb", b"", b" 7\n", b""])
    events = scan(chunks, "log", None, [make])
    assert next(events).evidence.line == 1  # type: ignore[union-attr]
    assert made[0].calls == ["read"]
    assert next(events).evidence.line == 2  # type: ignore[union-attr]
    assert made[0].calls == ["read", "settle", "read"]
    assert list(events)
    assert made[0].calls == ["read", "settle", "read", "settle", "finish"]


def test_a_listeners_fault_is_not_hidden() -> None:
    """A listener that raises is a bug, and shows."""

    class Faulty(Heard7):
        def read(self, data: bytes, first_line: int) -> None:
            raise ZeroDivisionError(f"{len(data)} {first_line}")

    with pytest.raises(ZeroDivisionError):
        list(scan([b"x\n"], "log", None, [Faulty]))


def test_a_line_without_end_comes_in_pieces_of_one_number() -> None:
    """A line longer than a mebibyte is heard in bounded pieces, and the lines behind it keep their numbers."""
    data = b"first\n" + b"y" * (3 * LONGEST_LINE) + b"\n7\n"
    listener, events = heard(data, 1 << 18)
    assert {number for number, _ in listener.lines} == {1, 2, 3}
    assert sum(len(line) for number, line in listener.lines if number == 2) == 3 * LONGEST_LINE
    assert [event.evidence.line for event in events if isinstance(event, Sign)] == [3]
    assert max(len(data) for data, _ in buffers([data[:5], data[5:]])) <= len(data) + 1


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
@pytest.mark.parametrize("cut", range(0, 1200, 97))
def test_a_report_may_lie_across_buffers(generation: object, cut: int) -> None:
    """Lines in front of a marker are found in the buffer before."""
    incident = Incident()
    lines = stamped(told(incident, generation), PREFIXES["rsyslog"], incident.monotonic)  # type: ignore[arg-type]
    noise = stamped(["eth0: up"] * 3000, PREFIXES["rsyslog"], 50.0)
    data = text_log([*noise, *lines, *noise[:30]])
    at = len(text_log(noise)) + cut
    chunks = [data[:at], data[at : at + (1 << 17)], data[at + (1 << 17) :]]
    options = Options(reference=datetime(2026, 12, 24, tzinfo=timezone.utc))
    (kill,) = [event for event in scan(chunks, "kern.log", options) if isinstance(event, OomKill)]
    check(kill, incident, generation)  # type: ignore[arg-type]
    assert kill.evidence[-1].line == 3001 + next(n for n, line in enumerate(lines) if "illed process" in line)


def test_a_selection_in_the_buffer_before_counts() -> None:
    """Where a buffer begins with the kill line, the selection line at the end of the one before still names the chosen."""
    old = next(generation for generation in GENERATIONS if generation.name == "EL7")
    selection, kill_line = stamped(told(Incident(), old)[-2:], PREFIXES["dmesg"], 5.0)
    noise = "\n".join(stamped(["eth0: up"] * 4000, PREFIXES["dmesg"], 1.0))
    first = f"{noise}\n{selection}\n".encode()
    for chunks in ([first, kill_line.encode()], [first + kill_line.encode()]):
        (kill,) = [event for event in scan(chunks, "log") if isinstance(event, OomKill)]
        assert kill.score == Incident().score
        assert [item.line for item in kill.evidence] == [4001, 4002]


@pytest.mark.parametrize("wrapping", ["text", *WRAPPINGS])
def test_a_summary_tells_the_time_covered(wrapping: str) -> None:
    """The first and the last line of an ordered source give its times, kills or not."""
    seconds = (100.0, 5000.0)
    if wrapping == "text":
        lines = [PREFIXES["rsyslog iso"](second) + "eth0: up" for second in seconds]
        data = text_log([lines[0], *["  continued"] * 5, lines[1], "  and on"])
    else:
        data = b"".join(WRAPPINGS[wrapping](["eth0: up"], second) for second in seconds)
    summary = list(scan([data], "log", Options(boot_time=BOOT)))[-1]
    assert isinstance(summary, SourceSummary)
    times = summary.first, summary.last
    assert all(when is not None for when in times)
    expected = [BOOT + timedelta(seconds=second) for second in seconds]
    assert all(abs(when - moment) < timedelta(seconds=1) for when, moment in zip(times, expected) if when)


def test_stamps_of_slow_logs_stay_in_one_boot() -> None:
    """Lines minutes apart in a log that is read around its kill are not taken for a new boot."""
    incident = Incident(monotonic=3000.0)
    quiet = [DMESG(second) + "eth0: up" for second in range(60, 3000, 600)]
    lines = [*quiet, *stamped(told(incident, MODERN), DMESG, 3000.0)]
    for wrapped in (text_log(lines), WRAPPINGS["docker_json"](lines, 3000.0)):
        (kill,) = kills_of(wrapped)
        assert kill.boot_number == 0


DMESG = PREFIXES["dmesg"]


def test_every_line_that_means_something_holds_a_word() -> None:
    """The words that windows are searched for miss no line of any kernel's report, and no decoy that is understood."""
    lines = [
        line
        for generation in GENERATIONS
        for memcg in (True, False)
        for line in told(Incident(memcg=memcg), generation)
    ]
    lines += [
        *DECOYS,
        "sysrq: Manual OOM execution",
        "Node 0 DMA: 1*4kB (U) 0*8kB",
        ",task_memcg=/a,task=b,pid=1",
    ]
    lines += [
        "Memory limit reached of cgroup /a",
        "Tasks in /a are going to be killed due to memory.oom.group set",
        "journal: Missed 7 kernel messages",
        "[67.8K blob data]",
    ]
    for line in lines:
        assert parse(line) is None or any(word in line.encode() for word in WORDS), line


def test_a_large_table_is_read() -> None:
    """Rows beyond the window and between other lines are kept, up to a bound that is told."""
    lines = told(Incident(), MODERN)
    place = next(number for number, line in enumerate(lines) if "tgid" in line)
    row = lines[place + 1]
    rows = [row.replace("4240", str(10_000 + number)) for number in range(2500)]
    rows.insert(700, "eth0: link becomes ready")
    lines[place + 1 : place + 1] = rows
    (kill,) = kills_of(text_log(stamped(lines, PREFIXES["rsyslog"], 5.0)))
    assert (len(kill.tasks), kill.tasks_omitted) == (2000, 502)
    assert kill.tasks[0] == replace_pid(kill.tasks[1], 10_000)


def test_rows_are_read_by_their_own_heading() -> None:
    """Where another heading stands in a table, as in a damaged log, rows of the first are told as left out."""
    lines = told(Incident(), MODERN)
    place = next(number for number, line in enumerate(lines) if "tgid" in line)
    narrow = lines[place].replace(" swapents", "")
    assert narrow != lines[place]
    rows = len([line for line in lines[place + 1 :] if line.startswith("[")])
    lines[place + 1 + rows : place + 1 + rows] = [narrow]
    (kill,) = kills_of(text_log(stamped(lines, PREFIXES["rsyslog"], 5.0)))
    assert (len(kill.tasks), kill.tasks_omitted) == (0, rows)


def replace_pid(row: object, pid: int) -> object:
    """Return a row with another pid."""
    return row._replace(pid=pid, tgid=pid)  # type: ignore[attr-defined]


def test_windows_ends_of_lines() -> None:
    """A log whose lines end as on Windows gives the same incident."""
    incident = replace(Incident(), comm="celery")
    data = text_log(stamped(told(incident, MODERN), DMESG, 5.0)).replace(b"\n", b"\r\n")
    (kill,) = kills_of(data)
    check(kill, incident, MODERN)


def test_small_chunks_are_put_together() -> None:
    """Buffers are not smaller than they need to be, and a pause lets go of what is complete."""

    def chunks() -> Iterator[bytes]:
        yield from [b"ab\n"] * 10
        yield b"c"
        yield b""
        yield b"d\n"

    assert list(buffers(chunks())) == [(b"ab\n" * 10, False), (b"", False), (b"cd\n", False)]
