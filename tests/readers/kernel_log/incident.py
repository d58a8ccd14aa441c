"""One abstract incident, told as any kernel would and wrapped as any log would; formats as in the OOM reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from leakhunt.model.oom import OomKill
from leakhunt.readers.kernel_log.scan import Event, Options, scan

BOOT = datetime(2026, 11, 20, 23, 0, 0, tzinfo=timezone.utc)
HOST = "web-1.example"
CONTAINER = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"
POD = "01234567-89ab-cdef-0123-456789abcdef"


@dataclass(frozen=True)
class Incident:
    """What happened; pages are of 4 KiB unless told otherwise."""

    pid: int = 4242
    comm: str = "[celeryd: celer"
    uid: int = 1000
    pages: int = 250_000
    anon_kb: int = 470_000
    file_kb: int = 10_000
    shmem_kb: int = 0
    adj: int = 935
    score: int = 1046
    invoker_pid: int = 4243
    invoker: str = "celery"
    memcg: bool = True
    limited: str = f"/kubepods/burstable/pod{POD}"
    victim: str = f"/kubepods/burstable/pod{POD}/{CONTAINER}"
    usage_kb: int = 524_288
    failcnt: int = 812
    page_kb: int = 4
    monotonic: float = 12345.678901
    parent: int = 4240

    @property
    def total_vm_kb(self) -> int:
        """Virtual size in KiB."""
        return self.pages * self.page_kb


@dataclass(frozen=True)
class Generation:
    """How kernels of some years tell it.

    Attributes:
        header: the layout of what follows ``invoked oom-killer: ``.
        columns: of the task table, between ``tgid`` and ``name``.
        kill: the layout of the kill line.
        selection: the layout of the line in front of it, or an empty string.
    """

    name: str
    version: str
    header: str
    task_line: str
    columns: str
    kill: str
    selection: str = ""
    cpuset: bool = True
    summary: bool = False
    pid_header: str = "[ pid ]"

    @property
    def sized(self) -> bool:
        """Whether the kill line has sizes."""
        return "anon-rss" in self.kill


_OLD_TASK = "Pid: {invoker_pid}, comm: {invoker} Not tainted {version} #1"
_TASK = "CPU: 3 PID: {invoker_pid} Comm: {invoker} Not tainted {version} #1"
_TAINTED = "CPU: 3 PID: {invoker_pid} Comm: {invoker} Kdump: loaded Tainted: G        W  OE  ------------ T {version} #1"
_UID_TASK = "CPU: 3 UID: 1000 PID: {invoker_pid} Comm: {invoker} Not tainted {version} #1 PREEMPT(voluntary) "
_SIZES = "total-vm:{total_vm_kb}kB, anon-rss:{anon_kb}kB, file-rss:{file_kb}kB"
_SHMEM = _SIZES + ", shmem-rss:{shmem_kb}kB"
_MODERN = "{msg}: Killed process {pid} ({comm}) " + _SHMEM + ", UID:{uid} pgtables:1640kB oom_score_adj:{adj}"
_SELECTION = "{msg}: Kill process {pid} ({comm}) score {score} or sacrifice child"
_FLAGS = "0x14000c0(GFP_KERNEL)"
GENERATIONS = (
    Generation(
        "2.6.24", "2.6.24", "gfp_mask=0x1201d2, order=0, oomkilladj=0", _OLD_TASK,
        "total_vm rss cpu oom_adj", "Killed process {pid} ({comm})",
        "{msg}: kill process {pid} ({comm}) score {score} or a child",
    ),
    Generation(
        "2.6.33", "2.6.33", "gfp_mask=0x1201d2, order=0, oom_adj=0", _OLD_TASK,
        "total_vm rss cpu oom_adj",
        "Killed process {pid} ({comm}) vsz:{total_vm_kb}kB, anon-rss:{anon_kb}kB, file-rss:{file_kb}kB",
        "{msg}: kill process {pid} ({comm}) score {score} or a child",
    ),
    Generation(
        "EL6", "2.6.32-431.el6.x86_64", "gfp_mask=0x201da, order=0, oom_adj=0, oom_score_adj=0", _OLD_TASK,
        "total_vm rss cpu oom_adj oom_score_adj", "Killed process {pid}, UID {uid}, ({comm}) " + _SIZES, _SELECTION,
    ),
    Generation(
        "3.4", "3.4.0", "gfp_mask=0x201da, order=0, oom_adj=0, oom_score_adj=0", _OLD_TASK,
        "total_vm rss cpu oom_adj oom_score_adj", "Killed process {pid} ({comm}) " + _SIZES, _SELECTION,
    ),
    Generation(
        "EL7", "3.10.0-1160.el7.x86_64", "gfp_mask=0xd0, order=0, oom_score_adj=-998", _TAINTED,
        "total_vm rss nr_ptes swapents oom_score_adj", "Killed process {pid} ({comm}) " + _SHMEM, _SELECTION,
    ),
    Generation(
        "4.4", "4.4.0-21-generic", "gfp_mask=0x24280ca, order=0, oom_score_adj=0", _TASK,
        "total_vm rss nr_ptes nr_pmds swapents oom_score_adj", "Killed process {pid} ({comm}) " + _SIZES, _SELECTION,
    ),
    Generation(
        "4.14", "4.14.67", f"gfp_mask={_FLAGS}, nodemask=(null),  order=0, oom_score_adj=0", _TASK,
        "total_vm rss nr_ptes nr_pmds swapents oom_score_adj", "Killed process {pid} ({comm}) " + _SHMEM, _SELECTION,
    ),
    Generation(
        "4.19", "4.19.0-18-amd64", f"gfp_mask={_FLAGS}, nodemask=0-1,2, order=0, oom_score_adj=0", _TASK,
        "total_vm rss pgtables_bytes swapents oom_score_adj", "Killed process {pid} ({comm}) " + _SHMEM, _SELECTION,
        pid_header="[  pid  ]",
    ),
    Generation(
        "EL8", "4.18.0-372.el8.x86_64", "gfp_mask=0x0(), order=0, oom_score_adj=0", _TAINTED,
        "total_vm rss pgtables_bytes swapents oom_score_adj", _MODERN, cpuset=False, summary=True,
    ),
    Generation(
        "5.2", "5.2.14", f"gfp_mask={_FLAGS}, order=0, oom_score_adj=0", _TASK,
        "total_vm rss pgtables_bytes swapents oom_score_adj", "{msg}: Killed process {pid} ({comm}) " + _SHMEM,
        cpuset=False, summary=True, pid_header="[  pid  ]",
    ),
    Generation(
        "5.15", "5.15.0-91-generic", f"gfp_mask={_FLAGS}, order=0, oom_score_adj=0", _TASK,
        "total_vm rss pgtables_bytes swapents oom_score_adj", _MODERN, cpuset=False, summary=True,
        pid_header="[  pid  ]",
    ),
    Generation(
        "6.18", "6.18.0+", f"gfp_mask={_FLAGS}, order=0, oom_score_adj=0", _UID_TASK,
        "total_vm rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj", _MODERN, cpuset=False,
        summary=True, pid_header="[  pid  ]",
    ),
)  # fmt: skip


def told(incident: Incident, generation: Generation, *, table: bool = True) -> list[str]:
    """Return the report's lines as the kernel prints them."""
    msg = "Memory cgroup out of memory" if incident.memcg else "Out of memory"
    words = {**vars(incident), "msg": msg, "version": generation.version, "total_vm_kb": incident.total_vm_kb}
    lines = [f"{incident.invoker} invoked oom-killer: {generation.header}"]
    if generation.cpuset:
        lines.append(f"{incident.invoker} cpuset=/ mems_allowed=0-1")
    lines += [
        generation.task_line.format(**words),
        "Hardware name: QEMU Standard PC",
        "Call Trace:",
        " dump_stack+0x5c/0x80",
    ]
    lines += (
        _memcg_lines(incident, generation)
        if incident.memcg
        else ["Mem-Info:", "active_anon:1 inactive_anon:2"]
    )
    if table:
        if generation.summary:
            lines.append("Tasks state (memory values in pages):")
        lines.append(f"{generation.pid_header}   uid  tgid {generation.columns.replace(' ', '  ')} name")
        lines += [_row(incident, generation, pid) for pid in (incident.parent, incident.pid)]
    if generation.summary:
        lines.append(_summary(incident, generation))
    if generation.selection:
        lines.append(generation.selection.format(**words))
    lines.append(generation.kill.format(**words))
    if generation.version[0] in "456" and generation.name != "4.4":
        lines.append(
            f"oom_reaper: reaped process {incident.pid} ({incident.comm}), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
        )
    return lines


def _memcg_lines(incident: Incident, generation: Generation) -> list[str]:
    used = f"usage {incident.usage_kb}kB, limit {incident.usage_kb}kB, failcnt {incident.failcnt}"
    if generation.summary:
        swap = "swap: usage 64kB, limit 9007199254740988kB, failcnt 0"
        return [
            f"memory: {used}",
            swap,
            f"Memory cgroup stats for {incident.limited}:",
            "anon 481280000",
            "file 10240000",
        ]
    return [
        f"Task in {incident.victim} killed as a result of limit of {incident.limited}",
        f"memory: {used}",
        "memory+swap: usage 64kB, limit 18014398509481983kB, failcnt 0",
        f"Memory cgroup stats for {incident.limited}: cache:680KB rss:176336KB rss_huge:163840KB",
    ]


def _row(incident: Incident, generation: Generation, pid: int) -> str:
    values = {"total_vm": incident.pages, "rss": 120_000, "swapents": 5, "oom_score_adj": incident.adj}
    numbers = " ".join(f"{values.get(name, 7):8d}" for name in generation.columns.split())
    return f"[{pid:5d}] {incident.uid:5d} {pid:5d} {numbers} {incident.comm}"


def _summary(incident: Incident, generation: Generation) -> str:
    # kernels of 5.0 to 5.2 print NONE for a control group's limit too
    constraint = "CONSTRAINT_MEMCG" if incident.memcg and generation.name != "5.2" else "CONSTRAINT_NONE"
    limit = f"oom_memcg={incident.limited}" if incident.memcg else "global_oom"
    return (
        f"oom-kill:constraint={constraint},nodemask=(null),cpuset={CONTAINER},mems_allowed=0,2,{limit},"
        f"task_memcg={incident.victim},task={incident.comm},pid={incident.pid},uid={incident.uid}"
    )


# A prefix: what stands in front of a text at some seconds since boot.
Prefix = Callable[[float], str]


def _at(seconds: float) -> datetime:
    return BOOT + timedelta(seconds=seconds)


def _iso(seconds: float, end: str = "+00:00", point: str = ".") -> str:
    return _at(seconds).strftime(f"%Y-%m-%dT%H:%M:%S{point}%f{end}")


PREFIXES: dict[str, Prefix] = {
    "cat": lambda _: "",
    "dmesg": lambda s: f"[{s:12.6f}] ",
    "dmesg raw": lambda s: f"<4>[{s:12.6f}] ",
    "dmesg caller raw": lambda s: f"[{s:12.6f}][ T4243] ",
    "dmesg caller": lambda s: f"[{s:12.6f}] [ T4243] ",
    "dmesg -T": lambda s: _at(s).strftime("[%a %b %e %H:%M:%S %Y] "),
    "dmesg -T German": lambda s: _at(s).strftime("[Sa Nov %e %H:%M:%S %Y] "),
    "dmesg -T Japanese": lambda s: _at(s).strftime("[土 11月 %e %H:%M:%S %Y] "),
    "dmesg iso": lambda s: _iso(s, point=",") + " ",
    "dmesg -d": lambda s: f"[{s:12.6f} <    0.000099>] ",
    "dmesg delta": lambda _: "[<    0.000099>] ",
    "dmesg -e": lambda _: "[  +0.000099] ",
    "dmesg -x": lambda s: f"kern  :warn  : [{s:12.6f}] ",
    "kmsg": lambda s: f"4,1234,{int(s * 1e6)},-;",
    "kmsg caller": lambda s: f"4,1234,{int(s * 1e6)},-,caller=T4243;",
    "journal short": lambda s: _at(s).strftime("%b %d %H:%M:%S ") + f"{HOST} kernel: ",
    "journal precise": lambda s: _at(s).strftime("%b %d %H:%M:%S.%f ") + f"{HOST} kernel: ",
    "journal iso": lambda s: _iso(s, "+0000") + f" {HOST} kernel: ",
    "journal full": lambda s: _at(s).strftime("%a %Y-%m-%d %H:%M:%S UTC ") + f"{HOST} kernel: ",
    "journal monotonic": lambda s: f"[{s:12.6f}] {HOST} kernel: ",
    "journal unix": lambda s: f"{_at(s).timestamp():.6f} {HOST} kernel: ",
    "journal no host": lambda s: _at(s).strftime("%b %d %H:%M:%S ") + "kernel: ",
    "rsyslog": lambda s: _at(s).strftime("%b %e %H:%M:%S ") + f"{HOST} kernel: [{s:12.6f}] ",
    "rsyslog iso": lambda s: _iso(s) + f" {HOST} kernel: [{s:12.6f}] ",
    "rfc 5424": lambda s: "<4>1 " + _iso(s, "Z") + f" {HOST} kernel - - - ",
    "kubectl": lambda s: _iso(s, "254Z") + " ",
    "cri": lambda s: _iso(s, "254Z") + f" stderr F [{s:12.6f}] ",
    "compose": lambda s: f"console_1  | [{s:12.6f}] ",
    "kubectl prefix": lambda s: f"[pod/dmesg-x2/main] [{s:12.6f}] ",
    "hypervisor": lambda s: _iso(s, "Z") + f" In(05) vcpu-5 - Guest: <4>[{s:12.6f}] ",
    "dropped": lambda s: f"** 12 printk messages dropped ** [{s:12.6f}] ",
    "quoted in mail": lambda s: f"> [{s:12.6f}] ",
}
TELLS_MONOTONIC = {
    name for name, prefix in PREFIXES.items() if "123" in prefix(98765.4321).replace("98765.4321", "123")
}


def stamped(lines: Iterable[str], prefix: Prefix, start: float) -> list[str]:
    """Put a prefix in front of each line, a microsecond apart."""
    return [prefix(start + number * 1e-6) + line for number, line in enumerate(lines)]


def text_log(lines: Sequence[str]) -> bytes:
    """Return lines as a file's bytes."""
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _journal(line: str, seconds: float, message: object = None) -> dict[str, object]:
    return {
        "__REALTIME_TIMESTAMP": str(int(_at(seconds).timestamp() * 1e6)),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(round(seconds * 1e6)),
        "_BOOT_ID": "a" * 32,
        "_TRANSPORT": "kernel",
        "_HOSTNAME": HOST,
        "SYSLOG_IDENTIFIER": "kernel",
        "MESSAGE": line if message is None else message,
    }


def journal_json(lines: Sequence[str], start: float) -> bytes:
    """Return ``journalctl -o json``."""
    return text_log([json.dumps(_journal(line, start)) for line in lines])


def journal_json_bytes(lines: Sequence[str], start: float) -> bytes:
    """Return ``journalctl -o json`` with its messages as numbers, as for text that is not UTF-8, and some null."""
    entries = [_journal(line, start, list(line.encode())) for line in lines]
    nothing = {**_journal("", start), "MESSAGE": None}
    return text_log([json.dumps(entry) for entry in (nothing, *entries, nothing)])


def journal_json_lists(lines: Sequence[str], start: float) -> bytes:
    """Return ``journalctl -o json-seq`` with lists of messages."""
    return text_log(["\x1e" + json.dumps(_journal(line, start, [line])) for line in lines])


def journal_pretty(lines: Sequence[str], start: float) -> bytes:
    """Return ``journalctl -o json-pretty``."""
    return text_log([json.dumps(_journal(line, start), indent=2) for line in lines])


def journal_export(lines: Sequence[str], start: float) -> bytes:
    """Return ``journalctl -o export``, every other message in the binary form."""
    entries = []
    for number, line in enumerate(lines):
        fields = _journal(line, start)
        message = str(fields.pop("MESSAGE")).encode()
        text = b"__CURSOR=s=1;i=2\n" + b"".join(
            f"{name}={value}\n".encode() for name, value in fields.items()
        )
        binary = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"
        entries.append(text + (binary if number % 2 else b"MESSAGE=" + message + b"\n") + b"\n")
    return b"".join(entries)


def dmesg_json(lines: Sequence[str], start: float) -> bytes:
    """Return ``dmesg -J``."""
    records = [{"pri": 4, "time": start + number * 1e-6, "msg": line} for number, line in enumerate(lines)]
    return json.dumps({"dmesg": records}, indent=3).encode()


def docker_json(lines: Sequence[str], start: float) -> bytes:
    """Return a container's json-file that holds a kernel log."""
    entries = [
        {"log": f"[{start:12.6f}] {line}\n", "stream": "stdout", "time": _iso(start, "123Z")}
        for line in lines
    ]
    return text_log([json.dumps(entry) for entry in entries])


def cri_parts(lines: Sequence[str], start: float) -> bytes:
    """Return a container runtime's log that cuts each line in two."""
    head = _iso(start, "254Z") + " stderr "
    halves = [(f"[{start:12.6f}] {line}", len(line) // 2) for line in lines]
    return text_log(
        [part for line, cut in halves for part in (f"{head}P {line[:cut]}", f"{head}F {line[cut:]}")]
    )


def cloud_watch(lines: Sequence[str], start: float) -> bytes:
    """Return an export of a cloud's log."""
    at = int(_at(start).timestamp() * 1e3)
    return json.dumps(
        {"events": [{"timestamp": at, "message": line, "ingestionTime": at} for line in lines]}
    ).encode()


def gcp_entries(lines: Sequence[str], start: float) -> bytes:
    """Return log entries of another cloud."""
    return text_log(
        [json.dumps({"timestamp": _iso(start, "Z"), "jsonPayload": {"MESSAGE": line}}) for line in lines]
    )


WRAPPINGS: dict[str, Callable[[Sequence[str], float], bytes]] = {
    function.__name__: function
    for function in (
        journal_json, journal_json_bytes, journal_json_lists, journal_pretty, journal_export, dmesg_json, docker_json,
        cri_parts, cloud_watch, gcp_entries,
    )
}  # fmt: skip


def events_of(data: bytes, step: int = 1 << 20, options: Options | None = None) -> list[Event]:
    """Scan bytes that arrive in steps."""
    options = options or Options(reference=datetime(2026, 12, 24, tzinfo=timezone.utc))
    return list(scan((data[at : at + step] for at in range(0, len(data), step)), "kern.log", options))


def kills_of(data: bytes, step: int = 1 << 20, options: Options | None = None) -> list[OomKill]:
    """Return the kills in bytes."""
    return [event for event in events_of(data, step, options) if isinstance(event, OomKill)]


def check(kill: OomKill, incident: Incident, generation: Generation) -> None:
    """Hold what was read to what happened, as far as such a kernel tells."""
    assert (kill.pid, kill.comm) == (incident.pid, incident.comm)
    assert (kill.confidence, kill.killer) == ("confirmed", "kernel")
    assert kill.scope == ("memcg" if incident.memcg else "global")
    if generation.sized:
        assert kill.total_vm == incident.total_vm_kb * 1024
        assert (kill.anon_rss, kill.file_rss) == (incident.anon_kb * 1024, incident.file_kb * 1024)
    if "shmem" in generation.kill:
        assert kill.shmem_rss == incident.shmem_kb * 1024
    if "UID" in generation.kill or generation.summary:
        assert kill.uid == incident.uid
    if "oom_score_adj" in generation.kill:
        assert (kill.oom_score_adj, kill.pgtables) == (incident.adj, 1640 * 1024)
    assert kill.invoker is not None
    assert (kill.invoker.comm, kill.invoker.pid) == (incident.invoker, incident.invoker_pid)
    assert kill.selected is not None
    assert (kill.selected.pid, kill.selected.comm) == (incident.pid, incident.comm)
    assert kill.selected.score == (incident.score if generation.selection else None)
    assert kill.kernel == generation.version
    if incident.memcg:
        assert kill.cgroup is not None
        assert (kill.cgroup.limited, kill.cgroup.victim) == (incident.limited, incident.victim)
        assert kill.memory is not None
        assert kill.memory.usage == kill.memory.limit == incident.usage_kb * 1024
        assert (kill.memory.swap_usage, kill.memory.swap_limit) == (64 * 1024, None)
        assert kill.memory.version == (2 if generation.summary else 1)
    if kill.tasks:
        assert [row.pid for row in kill.tasks] == [incident.parent, incident.pid]
        assert {row.comm for row in kill.tasks} == {incident.comm}
        if generation.sized:
            assert kill.page_size == incident.page_kb * 1024
            assert {row.rss for row in kill.tasks} == {120_000 * kill.page_size}
        assert kill.tgid == kill.pid
