from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incident import Incident, check, events_of, kills_of, text_log, told
from test_kernel_log_cases import MODERN

from leakhunt.readers.kernel_log.scan import Options, scan
from leakhunt.readers.kernel_log.structured import JOURNAL_EXPORT, kind_of
from leakhunt.readers.kernel_log.verbose import verbose_lines

UTC = timezone.utc
AT = datetime(2026, 11, 21, 2, 10, 42, 123456, UTC)


def verbose(lines: list[str], *, cursor_time: bool = True, indent: str = "    ") -> bytes:
    """Return ``journalctl -o verbose``: each entry a heading and its fields, the message among them."""
    found = []
    for number, line in enumerate(lines):
        micro = int(AT.timestamp() * 1e6) + number
        zone = "CET" if cursor_time else "UTC"
        hour = 3 if cursor_time else 2
        known = f"{micro:x}" if cursor_time else "1"
        found += [
            f"Sat 2026-11-21 {hour:02d}:10:42.123456 {zone} [s=ab12;i={number:x};b={'0f' * 16};m=1500;t={known};x=9f]",
            f"{indent}_SOURCE_MONOTONIC_TIMESTAMP={98765000000 + number}",
            f"{indent}_TRANSPORT=kernel",
            f"{indent}MESSAGE={line}",
            f"{indent}_BOOT_ID={'0f' * 16}",
            f"{indent}_HOSTNAME=node-7",
            f"{indent}SYSLOG_IDENTIFIER=kernel",
        ]
    return text_log(found)


@pytest.mark.parametrize("cursor_time", [True, False])
@pytest.mark.parametrize("indent", ["    ", "\t"])
def test_the_journal_as_people_read_it(indent: str, *, cursor_time: bool) -> None:
    """A report in the journal's verbose form is the kernel's, with its time, its host and its boot."""
    incident = Incident()
    data = verbose(told(incident, MODERN), cursor_time=cursor_time, indent=indent)
    assert kind_of(data) == JOURNAL_EXPORT
    (kill,) = kills_of(data)
    check(kill, incident, MODERN)
    assert (kill.confidence, kill.quoted, kill.host, kill.boot) == ("confirmed", False, "node-7", "0f" * 16)
    assert kill.when is not None
    assert abs((kill.when - AT).total_seconds()) < 1
    assert kill.invoker is not None
    assert "MESSAGE" not in kill.invoker.comm


def test_a_message_of_several_lines_goes_on_below_itself() -> None:
    """The further lines of a verbose entry's message belong to it, and those of other fields to none."""
    data = (
        f"Sat 2026-11-21 02:10:42 UTC [s=a;i=1;b=2;m=3;t=1;x=4]\n    MESSAGE=one\n{' ' * 12}two\n"
        f"    _CMDLINE=a\n{' ' * 13}b\n    _HOSTNAME=h\n"
    )
    (entry,) = [json.loads(line) for line in b"".join(verbose_lines([data.encode()])).split(b"\n") if line]
    assert (entry["MESSAGE"], entry["_HOSTNAME"]) == ("one\ntwo", "h")


@given(st.lists(st.binary(max_size=80), max_size=8), st.integers(1, 30))
def test_any_bytes_in_verbose_form(parts: list[bytes], size: int) -> None:
    """Whatever stands behind the heading of a verbose entry, each line that comes out is JSON, however it was cut."""
    data = b"Sat 2026-11-21 02:10:42 UTC [s=a;i=1;t=1]\n    MESSAGE=" + b"\n".join(parts)
    lines = b"".join(verbose_lines(data[at : at + size] for at in range(0, len(data), size))).split(b"\n")
    assert all(isinstance(json.loads(line), dict) for line in lines if line)
    list(scan([data], "x", Options()))


@pytest.mark.parametrize("key", ["time", "timestamp", "@timestamp", "ts"])
@pytest.mark.parametrize("value", ["2026-11-21T02:10:42.123456Z", AT.timestamp(), AT.timestamp() * 1000])
def test_a_record_s_own_time(key: str, value: object) -> None:
    """JSON records are dated by the field that their writer names so, as a text, in seconds or in milliseconds."""
    lines = [json.dumps({key: value, "message": line}) for line in told(Incident(), MODERN)]
    (kill,) = kills_of(text_log(lines))
    assert kill.when is not None
    assert abs((kill.when - AT).total_seconds()) < 0.002


def test_a_time_that_is_none_is_passed_over() -> None:
    """A field that is no time leaves the date to the next."""
    record = {"time": "0.5s", "ts": "2026-11-21T02:10:42.123456Z", "msg": told(Incident(), MODERN)[-2]}
    (kill,) = kills_of(text_log([json.dumps(record)] * 2))[:1]
    assert kill.when == AT


def test_a_record_of_fluentd_s_syslog() -> None:
    """Fluentd's syslog records name the host and the program; elsewhere a host may be what a browser asked for."""
    line = told(Incident(), MODERN)[-2]
    record = {"ts": "2026-11-21T02:10:42Z", "host": "node-7", "ident": "kernel", "message": line}
    (kill,) = kills_of(text_log([json.dumps(record)]))
    assert (kill.host, kill.confidence, kill.quoted) == ("node-7", "confirmed", False)
    del record["ident"]
    (kill,) = kills_of(text_log([json.dumps(record)]))
    assert kill.host is None


QUOTES = (
    "2026-11-21 03:10:42,100 INFO bot: user said: '{}' what does it mean?",
    "Nov 21 03:10:42 h bot[7]: {}",
    "I1121 03:12:45.123456    1234 log_monitor.go:160] Message:{}",
)
FORWARDED = (
    "{}",
    "2026-11-21T03:10:42.123Z {}",
    "2026-11-21T03:10:42.123456789Z stderr F {}",
    "Nov 21 03:10:42 h kernel: {}",
    "2026-11-21T03:20:00.1234567Z Nov 21 03:12:45 h kernel: {}",
    "dmesg-1  | [ 9876.543210] {}",
    "[pod/dmesg-x2/main] <4>[ 9876.543210] {}",
    '{{"log": "{}\\n", "stream": "stdout", "time": "2026-11-21T03:10:42.1Z"}}',
)


@pytest.mark.parametrize("form", QUOTES)
def test_a_quotation_is_another_program_s_word(form: str) -> None:
    """A kill line that another program's line quotes is at most probable."""
    (kill,) = kills_of(text_log([form.format(told(Incident(comm="celery"), MODERN)[-2])]))
    assert (kill.quoted, kill.confidence) == (True, "probable")


@pytest.mark.parametrize("form", FORWARDED)
def test_a_forwarded_line_is_the_kernel_s(form: str) -> None:
    """What container runtimes, syslog daemons and builds put in front of a kill line makes no quotation of it."""
    (kill,) = kills_of(text_log([form.format(told(Incident(comm="celery"), MODERN)[-2])]))
    assert (kill.quoted, kill.confidence) == (False, "confirmed")


def test_a_verbose_line_without_end_is_dropped() -> None:
    """A line without end in verbose form is dropped, and what follows is read."""
    head = b"Sat 2026-11-21 02:10:42 UTC [s=a;i=1;t=1]\n"
    data = [head + b"    X=" + b"a" * (1 << 20)] * 3 + [b"\n", *([head, b"    MESSAGE=x\n"] * 2)]
    assert len(events_of(b"".join(data))) == 1
    assert b'"x"' in b"".join(verbose_lines(data))
