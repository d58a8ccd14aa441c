from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import subprocess_environment
from oom_tools import RefusedError, memory_cgroup
from snapshot_tools import BEGIN, END, SECONDS, run_program

MIB = 1 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@pytest.fixture
def state(tmp_path: Path) -> str:
    """Return where the program keeps its files."""
    return str(tmp_path / "state")


@pytest.fixture
def program(state: str) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a program to its end and returns what it found out."""
    return partial(run_program, state)


def test_a_fork_takes_it(program: Callable[..., dict[str, Any]]) -> None:
    """The file is a snapshot of the worker with its metadata, and the answer says where, how and what it cost."""
    out = program("""
        outcome = take()
        out.update(outcome=outcome._asdict(), told=told(), pid=os.getpid(), names=snaps.names())
    """)
    outcome, told = out["outcome"], out["told"]
    assert (told["state"], told["ok"], told["how"], told["left_out"]) == ("done", True, "fork", [])
    assert told["path"] == outcome["path"]
    assert out["names"] == [os.path.basename(told["path"])]
    assert f"-{out['pid']}-" in told["path"]
    assert told["size"] == os.path.getsize(told["path"])
    assert 0 < told["pause"] <= outcome["pause"]
    snapshot = tracemalloc.Snapshot.load(told["path"])
    assert len(snapshot.traces) == told["blocks"] > 1000
    assert sum(trace.size for trace in snapshot.traces) == told["traced"]
    stored = snapshot.leakhunt  # type: ignore[attr-defined]
    assert stored == {
        "schema": 1,
        "number": 1,
        "reason": "asked",
        "deep": True,
        "how": "fork",
        "left_out": [],
    }


@LINUX
def test_the_worker_is_left_as_it_was(program: Callable[..., dict[str, Any]]) -> None:
    """No child, no zombie, no descriptor, no handler, no mask and no tracing is changed by a snapshot."""
    out = program("""
        def state_of():
            masks = [line for line in open("/proc/self/status") if line.startswith(("Sig", "Shd"))]
            return [descriptors(), children(), masks, gc.isenabled(), tracemalloc.get_traceback_limit(), os.nice(0)]
        take(); told()  # what is loaded once is loaded
        before = state_of()
        take()
        out["during"] = children()
        told()
        out["same"] = state_of() == before
    """)
    assert out == {"during": [], "same": True}


@LINUX
def test_the_child_is_the_first_to_go(program: Callable[..., dict[str, Any]]) -> None:
    """The child offers itself to the kernel, makes room for others, has another name and nobody's files."""
    out = program("""
        pipe = os.pipe()
        def facts(deep):
            said = os.write(pipe[1], b"from the child")
            return {
                "oom": open("/proc/self/oom_score_adj").read().strip(), "nice": os.nice(0), "gc": gc.isenabled(),
                "comm": open("/proc/self/comm").read().strip(),
                "files": sorted({os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2, *pipe)}),
                "ours": [signal.getsignal(signal.SIGTERM) == 0, signal.getsignal(signal.SIGURG) == 1],
            }
        signal.signal(signal.SIGURG, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        take(facts)
        told()
        os.close(pipe[1])
        out["heard"] = os.read(pipe[0], 100).decode()
        out["facts"] = tracemalloc.Snapshot.load(os.path.join(snaps.path, snaps.names()[0])).leakhunt
    """)
    facts = out["facts"]
    assert out["heard"] == ""
    assert (facts["oom"], facts["nice"], facts["gc"]) == ("1000", os.nice(0) + 5, False)
    assert (facts["comm"], facts["files"], facts["ours"]) == ("leakhunt-snap", ["/dev/null"], [True, True])


def test_what_the_program_had_not_written_yet_is_written_once(program: Callable[..., dict[str, Any]]) -> None:
    """The child flushes no buffer of the program's and runs none of its exit handlers."""
    out = program("""
        import atexit
        path = os.path.join(state.path, "log")
        log = open(path, "w")
        log.write("once ")
        atexit.register(lambda: open(path, "a").write("left "))
        take(lambda deep: log.flush() or {})
        out["told"] = told()["ok"]
        log.close()
        out["log"] = open(path).read()
    """)
    assert out == {"told": True, "log": "once "}


@pytest.mark.parametrize("filters", [("-W", "error"), ("-W", "always"), ()])
def test_threads_do_not_matter(program: Callable[..., dict[str, Any]], filters: tuple[str, ...]) -> None:
    """With other threads, one of which holds a lock for ever, the fork is taken, and Python's warning is not seen."""
    out = program(
        """
        import logging
        lock, held, leave = threading.Lock(), threading.Event(), threading.Event()
        def hold():
            with lock:
                held.set()
                leave.wait()
        threads = [threading.Thread(target=hold), *[threading.Thread(target=leave.wait) for _ in range(5)]]
        for thread in threads: thread.start()
        held.wait()
        outcomes = []
        def once():
            outcome = take()
            if outcome.refused and "stands still" in outcome.refused:  # a busy machine was slow to start the child
                outcome = take()
            outcomes.append((outcome.how, told().get("why")))
        for _ in range(2):
            taker = threading.Thread(target=once)
            taker.start(); taker.join()
        once()
        out["taken"] = outcomes
        leave.set()
        """,
        *filters,
    )
    assert out["taken"] == [["fork", None]] * 3


def test_a_stuck_child_is_ended(program: Callable[..., dict[str, Any]]) -> None:
    """A child that waits for a lock that nobody in it lets go of is ended by the kernel, and its part is no snapshot."""
    out = program("""
        lock = threading.Lock()
        lock.acquire()
        outcome = take(lambda deep: lock.acquire(), timeout=0.3)
        out["told"] = told()
        out["names"] = snaps.names()
        out["again"] = [take().how, told()["ok"]]
    """)
    assert out["told"]["state"] == "writing"
    assert (out["names"], out["again"]) == ([], ["fork", True])


def test_who_waits_sees_that_the_child_is_gone(program: Callable[..., dict[str, Any]]) -> None:
    """The child holds a lock on its first answer while it lives; the kernel lets go of it."""
    out = program("""
        import fcntl
        lock = threading.Lock()
        lock.acquire()
        outcome = take(lambda deep: lock.acquire())
        path = os.path.join(box.path, "answer-1.json")
        while not os.path.exists(path):
            signal.sigtimedwait((), 0.01)
        answer = open(path)
        out["said"] = json.load(answer)
        try:
            fcntl.flock(answer, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            out["lives"] = True
        os.kill(outcome.pid, signal.SIGKILL)
        fcntl.flock(answer, fcntl.LOCK_SH)
        out["same"] = outcome.pid == out["said"]["pid"] == out["said"]["pids"][-1]
    """)
    assert (out["said"]["state"], out["lives"], out["same"]) == ("writing", True, True)


def test_ten_thousand_requests_in_a_row(program: Callable[..., dict[str, Any]]) -> None:
    """While a snapshot is being written, others are told so at once; nothing is left over, and the ring holds."""
    out = program("""
        lock = threading.Lock()
        lock.acquire()
        first = take(lambda deep: lock.acquire())
        out["busy"] = sum(take().busy for _ in range(1000))
        out["said"] = json.loads(box.read("answer-1.json"))
        os.kill(first.pid, signal.SIGKILL)
        wait()
        request = snapshot.Request("asked")
        shelf = snapshot.Shelf(3, 1 << 30, 1 << 32)
        outcomes = [
            snapshot.capture(snaps, request, lambda deep: {}, number=n, shelf=shelf) for n in range(10_000)
        ]
        wait()
        out["how"] = sorted({(each.how, each.busy) for each in outcomes})
        out["files"] = len(snaps.names())
        out["children"] = children() if sys.platform == "linux" else []
    """)
    assert out["busy"] == 1000
    assert out["how"] == [["", True], ["fork", False]]
    assert (out["files"], out["children"]) == (3, [])


@LINUX
def test_a_child_watcher_sees_nothing_odd(program: Callable[..., dict[str, Any]]) -> None:
    """A handler that reaps every child, as servers have, sees at most one that left with 0; the program's own are its."""
    out = program("""
        seen, own = [], []
        def reap(*_):
            try:
                while True:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                    if not pid: break
                    seen.append([pid, status])
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, reap)
        for code in (1, 2, 3):
            outcome = take()
            told()
            pid = os.fork()
            if not pid: os._exit(code)
            own.append(pid)
            while pid not in [each[0] for each in seen]: signal.sigtimedwait((), 0.01)
        out["own"] = [status >> 8 for pid, status in seen if pid in own]
        out["other"] = [status for pid, status in seen if pid not in own]
        out["how"] = outcome.how
    """)
    assert (out["own"], out["how"]) == ([1, 2, 3], "fork")
    assert set(out["other"]) <= {0}


def test_children_that_nobody_reaps_are_the_systems(program: Callable[..., dict[str, Any]]) -> None:
    """Where the program ignores its children's end, or reaps them all itself, a snapshot is taken like anywhere."""
    out = program("""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        out["taken"] = [[take().how, told()["ok"]] for _ in range(2)]
    """)
    assert out["taken"] == [["fork", True]] * 2


@LINUX
def test_without_an_init_the_worker_reaps(program: Callable[..., dict[str, Any]]) -> None:
    """Where process 1 would not reap an orphan, the worker forks once, and reaps the child when it looks next."""
    out = program("""
        orphan._is_reaped_by_others = lambda: False
        outcome = take()
        out["during"] = children() == [str(outcome.pid)]
        out["told"] = told()["ok"]
        out["after"] = children()
        outcome = take()
        os.waitpid(outcome.pid, 0)  # somebody else's was faster
        out["again"] = told()["ok"]
    """)
    assert out == {"during": True, "told": True, "after": [], "again": True}


@LINUX
def test_an_orphan_that_lies_about_is_the_last(program: Callable[..., dict[str, Any]]) -> None:
    """Where whoever adopts orphans does not reap them, there is one zombie, and from then on the worker reaps itself."""
    out = program("""
        import ctypes
        orphan._PATIENCE = 0
        if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER: this process adopts, and does not reap
            raise SystemExit("no subreaper")
        pid = os.fork()
        if not pid:
            found = []
            for _ in range(3):
                outcome = take()
                found.append([told()["ok"], outcome.pid])
                while orphan._state(outcome.pid)[0] not in ("", "Z"):
                    signal.sigtimedwait((), 0.001)
            mine = children()
            with open(state.path + "/found", "w") as file:
                json.dump([found, mine], file)
            os._exit(0)
        os.waitpid(pid, 0)
        found, mine = json.load(open(state.path + "/found"))
        out["ok"] = [ok for ok, _ in found]
        out["left"] = [children() == [str(found[0][1])], mine]
    """)
    assert out == {"ok": [True] * 3, "left": [True, []]}


@pytest.mark.parametrize(
    "refusal", ["BlockingIOError(11, 'Resource temporarily unavailable')", "RuntimeError('not here')"]
)
def test_without_a_fork_it_is_taken_on_the_spot(program: Callable[..., dict[str, Any]], refusal: str) -> None:
    """Where no process can be had, the worker takes it itself, without a walk over its objects, and says so."""
    out = program(f"""
        import posix
        def refuse():
            raise {refusal}
        posix.fork = refuse
        outcome = take()
        out.update(how=outcome.how, pid=outcome.pid, told=told(), tracing=tracemalloc.is_tracing(), gc=gc.isenabled())
        out["deep"] = tracemalloc.Snapshot.load(outcome.path).leakhunt["deep"]
        out["forced"] = tracemalloc.Snapshot.load(take(force=True).path).leakhunt["deep"]
    """)
    assert (out["how"], out["pid"], out["tracing"], out["gc"]) == ("in process", None, True, True)
    assert (out["deep"], out["forced"]) == (False, True)
    told = out["told"]
    assert (told["ok"], told["how"]) == (True, "in process")
    assert [text.partition(":")[0] for text in told["left_out"]] == [
        "counts of objects, garbage, who holds what",
        "taken in the process itself, not in a fork",
    ]


@NEEDS_ROOT
def test_a_limit_on_processes_is_no_fault(program: Callable[..., dict[str, Any]]) -> None:
    """Where the user may have no more processes, whether the first or the second fork fails, the snapshot is taken."""
    out = program("""
        import resource, shutil, tempfile
        place = tempfile.mkdtemp()  # the tests' own folder is for root alone
        os.chown(place, 23456, 23456)
        os.setgroups([]); os.setgid(23456); os.setuid(23456)
        state = Folder.open(place)
        snaps, box = state.sub("snapshots"), state.sub("box")
        resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
        out["second"] = take().how
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        out["first"] = take().how
        out["told"] = told()["ok"]
        shutil.rmtree(place)
    """)
    assert out == {"second": "in process", "first": "in process", "told": True}


def test_facts_that_fail_cost_only_the_facts(program: Callable[..., dict[str, Any]]) -> None:
    """Whatever goes wrong while the facts are gathered, the traces are written, and what is missing is said."""
    out = program("""
        def short(deep):
            if deep: raise MemoryError
            return {"light": True, "left_out": ["something"]}
        def broken(deep): raise ZeroDivisionError("by chance")
        out["left_out"] = [take(facts) and told()["left_out"] for facts in (short, broken, lambda deep: None)]
    """)
    assert out["left_out"] == [
        ["counts of objects: memory ran out", "something"],
        ["facts about the process: ZeroDivisionError: by chance"],
        [],
    ]


def test_what_the_programs_handler_raises_is_the_programs(program: Callable[..., dict[str, Any]]) -> None:
    """A soft time limit that strikes during a snapshot reaches the task, and snapshots go on afterwards."""
    out = program("""
        class SoftTimeLimitExceeded(Exception): pass
        def strike(*_): raise SoftTimeLimitExceeded
        signal.signal(signal.SIGUSR1, strike)
        afford = snapshot._affordable
        def struck(plan):
            signal.raise_signal(signal.SIGUSR1)
            return afford(plan)
        snapshot._affordable = struck
        try:
            take()
        except SoftTimeLimitExceeded:
            out["struck"] = True
        snapshot._affordable = afford
        out["again"] = [take().how, told()["ok"]]
    """)
    assert out == {"struck": True, "again": ["fork", True]}


def test_a_forked_pool_child_begins_anew(program: Callable[..., dict[str, Any]]) -> None:
    """What a process was at when the program forked it does not keep its child from its own snapshots."""
    out = program("""
        lock = threading.Lock()
        lock.acquire()
        first = take(lambda deep: lock.acquire(timeout=5) and {})
        snapshot._state().lock.acquire()
        pid = os.fork()
        if not pid:
            box = state.sub("agents", "3-4")
            outcome = take()
            os._exit(0 if outcome.how == "fork" and told()["ok"] and str(os.getpid()) in outcome.path else 1)
        out["code"] = os.waitpid(pid, 0)[1]
        os.kill(first.pid, signal.SIGKILL)
    """)
    assert out == {"code": 0}


def test_little_memory_makes_a_plainer_file(program: Callable[..., dict[str, Any]]) -> None:
    """Where the short form would take too much memory, the traces are written as tracemalloc does, and all are there."""
    out = program("""
        out["sizes"] = []
        for plain in (False, True):
            need = headroom.need()
            headroom.room = lambda: headroom.Room((need.plain + need.light) // 2 if plain else 1 << 40, "this test")
            take()
            out["sizes"].append([told()["blocks"] > 1000, told()["size"]])
    """)
    (whole, short), (all_there, plain) = out["sizes"]
    assert (whole, all_there) == (True, True)
    assert plain > 1.5 * short


def test_what_was_done_for_it_before_is_part_of_the_pause(program: Callable[..., dict[str, Any]]) -> None:
    """The pause that is told begins where the caller began to work for the snapshot."""
    out = program("""
        request = snapshot.Request("asked", answer=(box, "answer-1.json"))
        shelf = snapshot.Shelf(3, 1 << 30, 1 << 32)
        begun = time.perf_counter() - 100
        snapshot.capture(snaps, request, lambda deep: {}, number=1, shelf=shelf, begun=begun)
        out["pause"] = told()["pause"]
    """)
    assert 100 <= out["pause"] < 100 + SECONDS


@LINUX
def test_what_both_write_to_is_no_room_to_grow(program: Callable[..., dict[str, Any]]) -> None:
    """A look at all objects that takes all there is ends at the child's limit: what it copies counts too, the traces come."""
    out = program("""
        room = headroom.Room(headroom.need().deep + (1 << 20), "this test")
        headroom.room = lambda: room
        most = headroom.need().copied_deep
        for less in (most + (1 << 20), 1 << 20):
            take(lambda deep: {"deep": deep, "held": len(bytearray(room.size - less) if deep else b"")})
            out.setdefault("left_out", []).append(told()["left_out"])
    """)
    assert out["left_out"] == [[], ["counts of objects: memory ran out"]]


def test_without_tracing_the_blocks_are_reckoned_with(program: Callable[..., dict[str, Any]]) -> None:
    """A deep look at an untraced heap needs memory for lists of all its objects, beside what it copies."""
    out = program("""
        tracemalloc.stop()
        before = headroom.need()
        more = [{} for _ in range(100_000)]
        after = headroom.need()
        out["lists"] = (after.deep - after.copied_deep) - (before.deep - before.copied_deep)
        out["copied"] = after.copied - before.copied
    """)
    assert out["lists"] - out["copied"] == pytest.approx(6_400_000, rel=0.05)


def test_a_snapshot_larger_than_its_budget_is_refused(program: Callable[..., dict[str, Any]]) -> None:
    """The budget holds for a single file too, and nothing of it stays."""
    out = program("""
        take(budget=500)
        out["told"] = told()
        out["names"] = [name for name in os.listdir(snaps.path) if not name.startswith(".busy")]
    """)
    assert (out["told"]["ok"], out["names"]) == (False, [])
    assert "500 B" in out["told"]["why"]


def test_the_ring_does_not_go_by_the_clock(program: Callable[..., dict[str, Any]]) -> None:
    """After the clock was set back the new snapshots stay, and the oldest by their numbers go."""
    out = program("""
        for _ in range(3):
            take(); told()
        for name in snaps.names():
            os.utime(os.path.join(snaps.path, name), (time.time() + 3600,) * 2)
        out["there"] = [take() and os.path.exists(told()["path"]) for _ in range(2)]
        out["numbers"] = sorted(int(name.rpartition("-")[2][:-4]) for name in snaps.names())
    """)
    assert out == {"there": [True, True], "numbers": [3, 4, 5]}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """Mount a file system of 4 MiB."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None or sys.platform != "linux":
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)], check=False
    ).returncode:
        pytest.skip("this machine does not let root mount a disk")
    yield str(disk)
    # A child that is about to leave may still have it open.
    subprocess.run([str(shutil.which("umount")), "--lazy", str(disk)], check=True)


def test_a_full_disk_loses_the_snapshot_only(
    program: Callable[..., dict[str, Any]], small_disk: str, state: str
) -> None:
    """Nothing fits: refused in words. The disk fills while it is written: no part stays. A reserve is left free."""
    os.symlink(small_disk, os.path.join(os.path.dirname(state), "elsewhere"))
    out = program(f"""
        snaps = Folder.open({small_disk!r}).sub("snapshots")
        out["fits"] = [take().how, told()["ok"]]
        filler = open({small_disk!r} + "/filler", "wb")
        filler.write(b"x" * {3 * MIB + 200_000}); filler.flush()
        outcome = take()
        out["refused"] = [outcome.refused, outcome.hint]
        headroom.disk = lambda folder: 1 << 30
        take(lambda deep: {{"text": "x" * {2 * MIB}}})
        out["told"] = told()
        out["left"] = len([name for name in os.listdir(snaps.path) if not name.startswith(".busy")])
    """)
    assert out["fits"] == ["fork", True]
    assert out["refused"][0].endswith("the disk is full but for a reserve")
    assert out["told"]["why"].endswith("No space left on device")
    assert "LEAKHUNT_DIR" in out["told"]["hint"]
    assert out["left"] == 1


def test_a_folder_that_cannot_be_written_to_any_more(program: Callable[..., dict[str, Any]]) -> None:
    """A folder that is gone, given away, a link or a file now is a sentence in the answer, not an exception."""
    out = program("""
        import shutil
        out["why"] = []
        def lost(change):
            path = snaps.path
            shutil.rmtree(path)
            change(path)
            outcome = take()
            out["why"].append((outcome.refused or told()["why"]).replace(path, "P"))
            os.path.islink(path) or os.path.isfile(path) and os.unlink(path)
            if os.path.islink(path): os.unlink(path)
            os.path.isdir(path) or os.mkdir(path, 0o700)
            os.chmod(path, 0o700)
        lost(lambda path: None)
        lost(lambda path: os.symlink("/tmp", path))
        lost(lambda path: open(path, "w").close())
        lost(lambda path: (os.mkdir(path), os.chmod(path, 0o777)))
        out["again"] = told()["state"] and [take().how, told()["ok"]]
    """)
    assert out["why"] == [
        "P: No such file or directory",
        "P: a link or no folder; not followed",
        "P: a link or no folder; not followed",
        "P: others can write there",
    ]
    assert out["again"] == ["fork", True]


@LINUX
def test_a_limit_that_is_almost_reached_is_respected(state: str) -> None:
    """In a real memory cgroup: all is taken where there is room, then only the traces, then nothing, with numbers."""
    body = """
    def ready():
        print(json.dumps(out), flush=True)
        out.clear()
        sys.stdin.readline()
    take(); out["roomy"] = told()["left_out"]
    ballast = []
    def fill(left):
        while headroom.room().size > left:
            ballast.append(b"x" * (1 << 20))
    fill(70 << 20)
    take(); out["less"] = told()["left_out"]
    fill(10 << 20)
    outcome = take()
    out["refused"] = [outcome.refused, outcome.hint, told()["ok"]]
    take(force=True); out["forced"] = told().get("ok")
    """
    code = BEGIN + textwrap.dedent(body) + END
    try:
        with memory_cgroup(160 * MIB) as cgroup:
            done = subprocess.run(
                cgroup.entered(sys.executable, "-c", code, state),
                capture_output=True,
                text=True,
                check=False,
                env=subprocess_environment(),
                timeout=SECONDS,
            )
    except RefusedError as error:
        pytest.skip(str(error))
    assert (done.returncode, done.stderr) == (0, "")
    out = json.loads(done.stdout)
    assert out["roomy"] == []
    assert len(out["less"]) == 1
    assert out["less"][0].startswith(
        "counts of objects, garbage, who holds what: looking at all objects may take "
    )
    assert "the memory limit of its control group leaves" in out["refused"][0]
    assert "--force" in out["refused"][1]
    assert out["refused"][2] is False
