from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest
from incident import Incident, journal_json, kills_of, stamped, text_log, told
from test_kernel_log_cases import MODERN

from leakhunt.readers.kernel_log.merge import merge
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.times import Clock

UTC = timezone.utc
KILLED = told(Incident(), MODERN)[-2]
AT = datetime(2026, 11, 21, 3, 10, 42, 123456, UTC)
BOOT_S = 5000.5


def journal() -> bytes:
    """Return the kill as the journal has it."""
    line = journal_json([KILLED], BOOT_S).decode()
    _, _, rest = line.partition('"__REALTIME_TIMESTAMP": "')
    return line.replace(rest.partition('"')[0], str(int(AT.timestamp() * 1e6))).encode()


def in_words(drift_s: float) -> bytes:
    """Return it as ``dmesg -T`` prints it, so many seconds off."""
    return text_log([(AT + timedelta(seconds=drift_s)).strftime("[%a %b %e %H:%M:%S %Y] ") + KILLED])


@pytest.mark.parametrize("drift_s", [-40, -4, 4, 40])
@pytest.mark.parametrize("first", [True, False])
def test_the_surest_clock_tells_the_time(drift_s: float, *, first: bool) -> None:
    """Of two copies, the time is that of the clock with the least doubt, whichever was read first."""
    logs = [journal(), in_words(drift_s)]
    (kill,) = merge([kill for log in (logs if first else logs[::-1]) for kill in kills_of(log)])
    assert kill.when is not None
    assert abs((kill.when - AT).total_seconds()) < 0.001
    assert not kill.drifts
    assert kill.copies == 2


def test_a_clock_that_drifts_comes_last() -> None:
    """Seconds that ``dmesg`` counted from the start of the machine count less than a syslog's, and more than nothing."""
    syslog = text_log([AT.strftime("%Y-%m-%dT%H:%M:%SZ node-7 kernel: ") + KILLED])
    iso = text_log([(AT + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%S,%f+00:00 ") + KILLED])
    bare = text_log([KILLED])
    for logs in itertools.permutations([syslog, iso, bare]):
        (kill,) = merge([kill for log in logs for kill in kills_of(log)])
        assert kill.when == AT.replace(microsecond=0)
    (kill,) = merge([kill for log in (bare, iso) for kill in kills_of(log)])
    assert kill.when == AT + timedelta(seconds=4)
    assert kill.drifts


def test_a_quotation_s_time_comes_behind_the_kernel_s() -> None:
    """When a program quoted a kill line says nothing where the kernel's own log has a time, in one source or in two."""
    quote = f"{AT:%Y-%m-%dT}01:00:00.000001Z h bot[7]: saw {KILLED}"
    own = AT.strftime("%Y-%m-%dT%H:%M:%SZ h kernel: ") + KILLED
    for logs in ([text_log([quote, own])], [text_log([quote]), text_log([own])]):
        (kill,) = merge([kill for log in logs for kill in kills_of(log)])
        assert (kill.when, kill.quoted, kill.confidence) == (AT.replace(microsecond=0), False, "confirmed")


def when(line: str) -> datetime | None:
    """Return the moment that a line's prefixes tell."""
    stamp, _ = strip(line)
    clock = Clock(reference=datetime(2027, 1, 2, tzinfo=UTC))
    clock.note(stamp)
    return clock.place(stamp).when


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("2026-09-14T03:20:00.1234567Z", "Sep 14 03:12:45", "2026-09-14T03:12:45"),  # printed again later
        ("2026-09-14T03:12:46.100000Z", "Sep 14 03:12:45", "2026-09-14T03:12:46.1"),  # forwarded at once
        (
            "2026-09-14T03:12:46.100000Z",
            "Sep 14 05:12:45",
            "2026-09-14T03:12:46.1",
        ),  # likewise, in another zone
        ("2026-09-14T03:12:46.100000Z", "Sep 13 21:42:45", "2026-09-14T03:12:46.1"),
        ("2027-01-01T00:07:00.000000Z", "Dec 31 23:59:50", "2026-12-31T23:59:50"),
        ("2026-03-01T00:00:00.000000Z", "Feb 29 03:12:45", "2026-03-01T00:00:00"),  # there is no such day
    ],
)
def test_which_of_two_stamps_counts(outer: str, inner: str, expected: str) -> None:
    """A syslog's own stamp counts where somebody printed the line long after, unless a zone explains the difference."""
    moment = when(f"{outer} {inner} node-7 kernel: {KILLED}")
    assert moment == datetime.fromisoformat(expected.ljust(26, "0") if "." in expected else expected).replace(
        tzinfo=UTC
    )


def test_another_program_s_stamp_does_not_replace_the_outer() -> None:
    """Only a line of the kernel is taken for one that was printed again."""
    moment = when("2026-09-14T03:20:00.000000Z Sep 14 03:12:45 node-7 celery[7]: hello")
    assert moment == datetime(2026, 9, 14, 3, 20, tzinfo=UTC)


def test_a_log_of_kubernetes_programs_has_a_date() -> None:
    """The stamp that klog writes tells the time where nothing stands in front of it."""
    line = "I1121 03:12:45.123456    1234 log_monitor.go:160] New status generated"
    assert when(line) == datetime(2026, 11, 21, 3, 12, 45, 123456, UTC)
    assert when(f"2026-11-21T03:12:46Z {line}") == datetime(2026, 11, 21, 3, 12, 46, tzinfo=UTC)


@pytest.mark.parametrize("pod", ["celery-6c9dff7b8-x2k9p", "worker-0"])
def test_what_stern_puts_in_front(pod: str) -> None:
    """The pod and the container in front of a line are those of the line, and its stamp is found."""
    stamp, text = strip(f"{pod} main [2026-11-21 03:12:45,101: INFO/MainProcess] hello")
    assert (stamp.pod, stamp.container, text) == (pod, "main", "hello")
    assert stamp.wall is not None
    assert strip("first second 2026-11-21 03:12:45")[0].pod is None


def test_the_report_of_a_log_that_was_printed_again() -> None:
    """A kernel's log that a build printed has the times of its own stamps."""
    lines = stamped(
        told(Incident(), MODERN), lambda _: "2026-11-21T03:20:00.1234567Z Nov 21 03:12:45 node-7 kernel: ", 0
    )
    (kill,) = kills_of(text_log(lines))
    assert (kill.when, kill.host, kill.confidence) == (
        datetime(2026, 11, 21, 3, 12, 45, tzinfo=UTC),
        "node-7",
        "confirmed",
    )
