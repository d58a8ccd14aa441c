from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Counter, Sign
from leakhunt.model.oom import Loss, OomKill, SourceSummary
from leakhunt.model.verdict import LiveSource
from leakhunt.readers import kept_counts, kmsg, live, programs
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.programs import Output

KILL = (
    "Out of memory: Killed process 4242 (celery) total-vm:164408kB, anon-rss:143556kB, file-rss:4772kB, "
    "shmem-rss:0kB, UID:0 pgtables:360kB oom_score_adj:0"
)
ENTRY = {
    "__REALTIME_TIMESTAMP": "1795230642678901",
    "_SOURCE_MONOTONIC_TIMESTAMP": "12345678901",
    "_BOOT_ID": "a" * 32,
    "_TRANSPORT": "kernel",
    "_HOSTNAME": "web-1",
    "MESSAGE": KILL,
}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux keeps")
pytestmark = linux

Fake = Callable[[str, str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Let no program of the system be found but those that a test makes of Python code, and no device be read."""
    made: dict[str, str] = {}

    def make(name: str, code: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!{sys.executable} -I\nimport sys\n{code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        made[name] = str(path)

    monkeypatch.setattr(programs, "find", made.get)
    monkeypatch.setattr(kmsg, "PATH", str(tmp_path / "kmsg"))
    return make


def machine() -> tuple[list[OomKill], dict[str, LiveSource], list[object]]:
    """Read this machine: the kills, the sources by name, and everything."""
    found = list(live.read_machine())
    kills = [one for one in found if isinstance(one, OomKill)]
    return kills, {one.name: one for one in found if isinstance(one, LiveSource)}, list(found)


def test_the_journal_is_read(fake: Fake, tmp_path: Path) -> None:
    """Where the journal has the kernel's messages, it is read over all boots, and the kernel's buffer is not."""
    fake(
        "journalctl",
        f"open({str(tmp_path / 'argv')!r}, 'w').write(repr(sys.argv))\nprint({json.dumps(ENTRY)!r})",
    )
    kills, sources, found = machine()
    assert [(kill.pid, kill.host, kill.boot) for kill in kills] == [(4242, "web-1", "a" * 32)]
    assert (sources["journal"].used, sources["kernel buffer"].used) == (True, False)
    assert [one.source for one in found if isinstance(one, SourceSummary)] == ["journal"]
    words = (tmp_path / "argv").read_text()
    assert "_TRANSPORT=kernel" in words
    assert "'-b'" not in words
    assert "'-k'" not in words  # of this boot only


def test_an_old_journalctl_is_asked_for_all_fields(fake: Fake) -> None:
    """A journalctl that cannot choose fields is asked again without."""
    fake(
        "journalctl",
        "if '--output-fields' in sys.argv: sys.exit(\"journalctl: unrecognized option '--output-fields'\")\n"
        f"print({json.dumps(ENTRY)!r})",
    )
    kills, sources, _ = machine()
    assert [kill.pid for kill in kills] == [4242]
    assert sources["journal"].used


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("No journal files were found.", "no journal files were found"),
        (
            "No journal files were opened due to insufficient permissions.",
            "join the group systemd-journal or adm",
        ),
        ("Hint: You are currently not seeing messages from other users and the system.", "run as root"),
        ("", "no entries"),
    ],
)
def test_a_journal_that_says_nothing_is_told(fake: Fake, said: str, why: str) -> None:
    """What keeps the journal from being read is told with the right that is missing, and the buffer is tried."""
    fake("journalctl", f"print({said!r}, file=sys.stderr)\nsys.exit(1)")
    fake("dmesg", f"print('<3>[12345.678901] ' + {KILL!r})")
    kills, sources, _ = machine()
    assert why in sources["journal"].why
    assert not sources["journal"].used
    assert sources["kernel buffer"] == LiveSource("kernel buffer", used=True, why="dmesg" + live.suspended())
    assert [(kill.pid, kill.host) for kill in kills] == [(4242, os.uname().nodename)]
    assert kills[0].when is not None  # from the time of this boot


def test_a_refused_buffer_is_told(fake: Fake) -> None:
    """Where dmesg is not permitted, the right that it needs is named; where there is no dmesg, the device is."""
    fake("dmesg", "sys.exit('dmesg: read kernel buffer failed: Operation not permitted')")
    assert "CAP_SYSLOG" in machine()[1]["kernel buffer"].why


@pytest.mark.usefixtures("fake")
def test_nothing_to_read_is_told() -> None:
    """Without journalctl, dmesg and device each source says so, and nothing fails."""
    _, sources, _ = machine()
    assert sources["journal"].why == "journalctl is not installed here"
    assert "no such file" in sources["kernel buffer"].why
    assert not sources["kernel buffer"].used


@pytest.mark.usefixtures("fake")
def test_the_device_is_read_record_by_record(tmp_path: Path) -> None:
    """Records come from the device until there are no more, and gaps in their numbers are losses."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        header = "celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
        os.write(writer, f"4,1,1000000,-;{header}\n SUBSYSTEM=x\n3,9,1000001,-;{KILL}\n".encode())
        kills, sources, found = machine()
    finally:
        os.close(writer)
        os.close(reader)
    assert [(kill.pid, kill.monotonic) for kill in kills] == [(4242, 1.000001)]
    assert [(one.kind, one.count) for one in found if isinstance(one, Loss)] == [("gap", 6)]
    assert sources["kernel buffer"].used


def test_a_device_that_ends_is_read_to_its_end(tmp_path: Path) -> None:
    """A file in the device's place ends; one that may not be opened is an error with a next step."""
    (tmp_path / "kmsg").write_bytes(b"6,1,2,-;x\n")
    assert b"".join(kmsg.followed_records(str(tmp_path / "kmsg"))) == b"6,1,2,-;x\n"
    with pytest.raises(LeakhuntError, match="no such file"):
        next(kmsg.records(str(tmp_path / "none")))
    assert "CAP_SYSLOG" in kmsg.refusal("/dev/kmsg", PermissionError(1, "Operation not permitted")).hint


def test_hearers_hear_the_machine(fake: Fake) -> None:
    """What hears other programs is given this machine's logs too."""
    fake("journalctl", f"print({json.dumps({**ENTRY, 'MESSAGE': 'hello'})!r})")

    class Every:
        def __init__(self, reading: Reading, place: Place) -> None:
            self.events: list[Heard] = []
            self.name, self.place = reading.source, place

        def read(self, data: bytes, first_line: int) -> None:
            """Take the bytes for a sign."""
            assert first_line == 1
            assert b"hello" in data
            self.events.append(
                Sign("oom", self.name, evidence=Evidence(self.name, 1, "hello"), place=self.place)
            )

        def wakes(self) -> tuple[bytes, ...] | None:
            return None

        def pass_by(self, data: bytes, first_line: int) -> None:
            raise AssertionError(data, first_line)

        def settle(self) -> None:
            """Do nothing."""

        def finish(self) -> None:
            """Do nothing."""

    signs = [one for one in live.read_machine(hearers=[Every]) if isinstance(one, Sign)]
    assert [(sign.program, sign.place) for sign in signs] == [("journal", Place())]


def test_since_limits_the_journal(fake: Fake, tmp_path: Path) -> None:
    """Entries older than asked for are left to the journal."""
    fake("journalctl", f"open({str(tmp_path / 'argv')!r}, 'w').write(repr(sys.argv))")
    list(live.read_machine(since=datetime.fromtimestamp(1_795_000_000, timezone.utc)))
    assert "--since=@1795000000" in (tmp_path / "argv").read_text()


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS one sentence says that there is no such log."""
    monkeypatch.setattr(sys, "platform", "darwin")
    (source,) = live.read_machine()
    assert isinstance(source, LiveSource)
    assert "macOS" in source.why


def test_counts_are_read(tmp_path: Path) -> None:
    """The counts of both versions of control groups that are not 0 are read, with the group's path."""
    v2, v1 = tmp_path / "unified", tmp_path / "mem ory"
    (v2 / "system.slice" / "celery.service").mkdir(parents=True)
    (v2 / "system.slice" / "quiet.service").mkdir()
    (v1 / "docker").mkdir(parents=True)
    (v2 / "memory.events").write_text("low 0\noom_kill 0\n")
    (v2 / "system.slice" / "celery.service" / "memory.events").write_text(
        "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"
    )
    (v2 / "system.slice" / "quiet.service" / "memory.events").write_text("oom 0\noom_kill 0\n")
    (v1 / "docker" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"proc /proc proc rw 0 0\ncgroup2 {v2} cgroup2 rw 0 0\n"
        f"cgroup {str(v1).replace(' ', chr(92) + '040')} cgroup rw,memory 0 0\ncgroup {v1} cgroup rw,cpu 0 0\nx\n"
    )
    places = kept_counts.hierarchies(str(mounts))
    assert [place.file for place in places] == ["memory.events", "memory.oom_control"]
    assert [(count.scope, count.name, count.value) for count in kept_counts.group_counts(places)] == [
        ("/system.slice/celery.service", "oom", 3),
        ("/system.slice/celery.service", "oom_kill", 2),
        ("/docker", "oom_kill", 5),
    ]
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 47\n")
    vmstat = str(tmp_path / "vmstat")
    assert list(kept_counts.host_counts(vmstat)) == [Counter(vmstat, "oom_kill", 47, "host")]
    assert list(kept_counts.host_counts(str(tmp_path / "none"))) == []


def test_programs_are_stopped(tmp_path: Path) -> None:
    """A program whose output nobody wants any more is ended and leaves nothing behind; one that ignores it is killed."""
    code = "import os, signal; signal.signal(15, signal.SIG_IGN); os.write(1, b'ready'); signal.pause()"
    output = Output([sys.executable, "-I", "-c", code])
    chunks = output.chunks()
    assert next(chunks) == b"ready"
    programs_patience, programs._PATIENCE_S = programs._PATIENCE_S, 0.05
    try:
        chunks.close()  # type: ignore[attr-defined]
    finally:
        programs._PATIENCE_S = programs_patience
    assert output.code == -9
    assert output.said == ""
    assert list(Output([str(tmp_path / "none")]).chunks()) == []


def test_a_programs_words_are_fixed() -> None:
    """Programs are found where the system keeps them, and get no environment of ours."""
    os.environ["LEAKHUNT_TEST"] = "1"
    try:
        shown = b"".join(
            Output([sys.executable, "-I", "-c", "import os; print(sorted(os.environ))"]).chunks()
        )
    finally:
        del os.environ["LEAKHUNT_TEST"]
    assert b"LEAKHUNT_TEST" not in shown
    assert b"LC_ALL" in shown
    found = programs.find("sh")
    assert found is None or os.path.isabs(found)
