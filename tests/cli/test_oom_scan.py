from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT, Run, document, schema, squeezed, subprocess_environment

OOM = "fixtures/oom"
CASES = tuple(
    sorted(path.parent.name for path in (ROOT / OOM).glob("*/expected.json") if path.parent.name != "invalid")
)
BROKEN = tuple(
    sorted(path.name for path in (ROOT / OOM / "invalid").iterdir() if path.suffix not in {".py", ".md"})
)
KILL = (
    "2026-11-21T03:10:42+00:00 node-7 kernel: Memory cgroup out of memory: Killed process {pid} ({comm}) "
    "total-vm:900000kB, anon-rss:204800kB, file-rss:4096kB, shmem-rss:0kB, UID:0 pgtables:500kB oom_score_adj:0\n"
)


def expected(case: str) -> dict[str, Any]:
    """Return what is known of a case."""
    found: dict[str, Any] = json.loads((ROOT / OOM / case / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("case", CASES)
def test_each_kill_is_told_once_and_whose_it_was(run: Run, case: str) -> None:
    """A folder of several sources gives the kills that happened, each once, by the right killer in the right place."""
    found = {kill["pid"]: kill for kill in document(run, "oom-scan", f"{OOM}/{case}")["kills"]}
    wanted = {kill["pid"]: kill for kill in expected(case)["kills"]}
    assert set(found) == set(wanted)
    for pid, kill in wanted.items():
        told = found[pid]
        for key in ("comm", "confidence", "killer", "scope", "anon_rss"):
            assert key not in kill or told[key] == kill[key], (pid, key)
        for key in ("pod", "container", "container_id", "pod_uid"):
            assert not kill.get(key) or told["place"][key] == kill[key], (pid, key)
        if kill.get("when"):
            away = datetime.fromisoformat(told["when"].replace("Z", "+00:00")) - datetime.fromisoformat(
                kill["when"]
            )
            assert abs(away.total_seconds()) <= 1.0 + (told["uncertainty_s"] or 0.0)


@pytest.mark.parametrize("case", CASES)
def test_the_worker_and_its_task_are_named(run: Run, case: str) -> None:
    """Each kill that a worker's log tells of has its child, its task, how that is known and how sure it is."""
    found = {kill["pid"]: kill for kill in document(run, "oom-scan", f"{OOM}/{case}")["kills"]}
    for kill in expected(case)["kills"]:
        worker, task = found[kill["pid"]]["worker"], found[kill["pid"]]["task"]
        assert bool(worker) == bool(kill["worker"])
        for key, value in (kill["worker"] or {}).items():
            assert worker[key] == value, (kill["pid"], key)
        if not kill["task"]:
            assert task is None or task["how"] == "all"
            continue
        if kill["task"]["how"] == "received":
            assert task["candidates"][0]["id"] == kill["task"]["id"]
        else:
            assert {key: task[key] for key in ("name", "id", "how")} == kill["task"]


@pytest.mark.parametrize("case", CASES)
def test_loops_repeats_and_decoys_are_told_apart(run: Run, case: str) -> None:
    """Poison pills, tasks that ran twice, and what is no OOM kill are those that happened."""
    found, wanted = document(run, "oom-scan", f"{OOM}/{case}"), expected(case)
    assert [(loop["id"], loop["kills"]) for loop in found["loops"]] == [
        (loop["id"], loop["kills"]) for loop in wanted["loops"]
    ]
    assert {task["id"] for task in found["ran_twice"]} == {task["id"] for task in wanted["twice"]}
    kinds = sorted(one["kind"] for one in found["not_kills"])
    assert kinds == sorted(one["kind"] for one in wanted["not_kills"])
    assert not any("counted" in warning for warning in found["warnings"])


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("output_format", ["table", "json", "markdown", "csv", "ndjson"])
def test_a_broken_input_gives_an_answer_or_a_clear_error(run: Run, name: str, output_format: str) -> None:
    """Whatever the file, there is a result or one error of leakhunt's own, and nothing for a terminal to obey."""
    result = run(
        ["oom-scan", f"{OOM}/invalid/{name}", "--format", output_format, "--all", "--details", "--evidence"]
    )
    assert result.code in {0, 2}
    assert "Traceback" not in result.err
    text = result.out + result.err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    if result.code == 2:
        assert result.err.startswith("error: ")
        assert result.out == ""
    wanted = expected("invalid")["kills"].get(name)
    if wanted is not None and output_format == "ndjson":
        assert (result.code, len(result.out.splitlines())) == (0, wanted)


def test_a_mixed_folder_fits_one_screen(run: Run) -> None:
    """The story of a mixed folder begins with the answer, and has room on a screen of 40 lines."""
    result = run(["oom-scan", f"{OOM}/mixed"])
    lines = result.out.splitlines()
    assert lines[0].startswith("2 OOM kills of pod shop/celery-exports-5d7f9c8b66-p8mzq")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


def test_ci_can_fail_on_a_kill(run: Run) -> None:
    """--fail-on-kill leaves with 1 where a kill is at least probable, and with 0 where there is none."""
    assert run(["oom-scan", f"{OOM}/docker", "--fail-on-kill"]).code == 1
    assert run(["oom-scan", f"{OOM}/celery-time-limit", "--fail-on-kill"]).code == 0


def test_choices_leave_out_and_say_so(run: Run) -> None:
    """What the options leave out is counted."""
    kept = document(run, "oom-scan", f"{OOM}/docker", "--since", "2026-11-21 06:30")
    assert (len(kept["kills"]), kept["hidden"], kept["filters"]) == (1, 1, ["since 2026-11-21 06:30:00"])
    assert document(run, "oom-scan", f"{OOM}/docker", "--comm", "java")["kills"] == []
    assert len(document(run, "oom-scan", f"{OOM}/docker", "--container", "shop-worker-*")["kills"]) == 2
    assert len(document(run, "oom-scan", f"{OOM}/docker", "--min-confidence", "confirmed")["kills"]) == 2


def test_the_same_story_comes_from_standard_input(run: Run) -> None:
    """A log through a pipe gives what the file gives."""
    data = KILL.format(pid=4242, comm="celery").encode()
    result = run(["oom-scan", "-", "-f", "ndjson"], stdin=data)
    kill = json.loads(result.out)
    assert (kill["pid"], kill["anon_rss"], kill["host"], kill["when"]) == (
        4242, 204_800 << 10, "node-7", "2026-11-21T03:10:42Z",
    )  # fmt: skip


def test_an_archive_comes_through_a_pipe_as_well(run: Run) -> None:
    """A zip file on standard input gives the story of the folder in it, not an all-clear."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((ROOT / OOM / "docker").iterdir()):
            archive.write(path, f"docker/{path.name}")
    result = run(["oom-scan", "-", "-f", "ndjson"], stdin=packed.getvalue())
    assert len(result.out.splitlines()) == 2


def test_a_log_without_a_year_through_a_pipe_has_one(run: Run) -> None:
    """What is piped in was written by now, so the year of its stamps is known."""
    line = KILL.format(pid=1, comm="celery").replace("2026-11-21T03:10:42+00:00", "Nov 21 03:10:42")
    assert json.loads(run(["oom-scan", "-", "-f", "ndjson"], stdin=line.encode()).out)["when"] is not None


def test_csv_has_a_row_for_each_kill(run: Run) -> None:
    """The rows of CSV are the kills, with raw values, and no cell that a spreadsheet would run."""
    result = run(["oom-scan", "-", "-f", "csv"], stdin=KILL.format(pid=7, comm="=cmd|' /C calc'!A0").encode())
    header, row = result.out.splitlines()
    assert header.startswith("when,confidence,killer,scope,host,owner,pid,comm,anon_rss")
    assert "2026-11-21T03:10:42Z,confirmed,kernel,memcg,node-7" in row
    assert ",=cmd" not in row


def test_a_missing_file_is_an_error(run: Run) -> None:
    """A file that was named and is not there leaves with 2 and says what to do."""
    result = run(["oom-scan", "nowhere.log"])
    assert (result.code, result.out) == (2, "")
    assert "nowhere.log" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "whenever"],
        ["--tz", "Mars/Olympus"],
        ["--window", "soon"],
        ["--exec", "cat"],
        ["--follow", "-f", "csv"],
        ["--follow", "-o", "out.txt"],
        ["--as", "nonsense"],
    ],
)
def test_bad_usage_is_refused(run: Run, arguments: list[str]) -> None:
    """Options that mean nothing, or do not go together, leave with 2."""
    assert run(["oom-scan", f"{OOM}/docker", *arguments]).code == 2


def test_following_tells_each_kill_and_runs_a_command(tmp_path: Path) -> None:
    """With --follow a kill that is written later is printed, and given to --exec as JSON; what that prints is kept apart."""
    log, seen = tmp_path / "kern.log", tmp_path / "seen.json"
    log.write_text(KILL.format(pid=1, comm="old"), encoding="utf-8")
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read()); print('ran')"
    command = f'{sys.executable} -c "{code}" {seen}'
    words = [
        sys.executable,
        "-m",
        "leakhunt",
        "oom-scan",
        str(log),
        "--follow",
        "--exec",
        command,
        "-f",
        "ndjson",
    ]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=subprocess_environment(PYTHONUNBUFFERED="1"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell's '&' ignores it
    ) as process:
        assert process.stdout is not None
        try:
            first = json.loads(process.stdout.readline())
            one = {"$defs": schema("oom")["$defs"], "$ref": "#/$defs/kill"}
            jsonschema.Draft202012Validator(one).validate(first)
            assert (first["comm"], first["again"]) == ("old", False)
            with open(log, "a", encoding="utf-8") as file:
                file.write(KILL.format(pid=2, comm="new"))
            assert json.loads(process.stdout.readline())["comm"] == "new"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                left = process.wait(30)
                assert process.stdout.read() == ""
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert left == 0
    told = [json.loads(line)["comm"] for line in seen.read_text(encoding="utf-8").splitlines()]
    assert sorted(told) == ["new", "old"]


def test_nothing_that_a_log_names_is_shown_raw_in_a_command(run: Run) -> None:
    """The next command quotes words of the log for the shell."""
    data = (
        '{"log":"x","kubernetes":{}}\n'
        + KILL.format(pid=5, comm="celery")
        .replace("Memory cgroup", "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/system.slice/a;reboot.service,"
                 "task_memcg=/system.slice/a;reboot.service,task=celery,pid=5,uid=0\n2026-11-21T03:10:42+00:00 node-7 kernel: Memory cgroup")
    )  # fmt: skip
    out = run(["oom-scan", "-"], stdin=data.encode()).out
    assert "'a;reboot.service'" in squeezed(out) or "journalctl" not in out


def test_the_machine_s_own_logs_are_read_without_arguments(run: Run) -> None:
    """Without a name it reads this machine, says what with, and never fails for want of a right."""
    if not sys.platform.startswith("linux"):
        pytest.skip("kernel logs of kills are Linux's")
    found = document(run, "oom-scan")
    assert found["live"]
    assert all(source["why"] for source in found["live"])


def test_an_empty_folder_is_an_error(run: Run, tmp_path: Path) -> None:
    """A folder without any log says so."""
    result = run(["oom-scan", os.fspath(tmp_path)])
    assert result.code == 2
    assert "nothing to read" in result.err


def test_details_sum_up_what_names_hold(run: Run) -> None:
    """The table of a report is summed up by name where several processes share one, and an assumed page is told."""
    told = " ".join(run(["oom-scan", f"{OOM}/node-storm", "--details", "--all"]).out.split())
    assert 'by name, what they share counted for each: 14.7 GiB in 6 "[celeryd: celer"' in told
    assert "sizes of processes are those of pages of 4.0 KiB, which is assumed" in told


def test_a_kernel_whose_unit_is_wrong_is_told_of(run: Run, tmp_path: Path) -> None:
    """A size that Linux 5.4.0 to 5.4.6 prints in bytes and calls kB is kept as it is printed, and said to be in doubt."""
    log = tmp_path / "kern.log"
    stamp = "2026-11-21T03:10:42+00:00 node-7 kernel: "
    asked = "celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
    task = "CPU: 1 PID: 7 Comm: celery Not tainted 5.4.3-generic #1\n"
    log.write_text(f"{stamp}{asked}{stamp}{task}{KILL.format(pid=7, comm='celery')}", encoding="ascii")
    told = " ".join(run(["oom-scan", str(log), "--details"]).out.split())
    assert "this kernel prints the bytes of page tables and calls them kB" in told
    assert document(run, "oom-scan", str(log))["kills"][0]["pgtables"] == 500 << 10


@pytest.mark.parametrize("output_format", ["json", "ndjson"])
def test_a_long_result_is_written_whole_or_not_at_all(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    """What fails in the midst of many kills leaves the file as it was, and nothing beside it."""
    log, out = tmp_path / "kern.log", tmp_path / "kills.json"
    log.write_text("".join(KILL.format(pid=pid, comm="celery") for pid in range(1, 600)), encoding="ascii")
    command = ["oom-scan", str(log), "--format", output_format, "-o", str(out)]
    assert run(command).code == 0
    before = out.read_bytes()
    assert before.count(b"Killed process") == 599
    monkeypatch.setattr("leakhunt.present.oom_document.iso", _failing_at(300))
    with pytest.raises(ZeroDivisionError):
        run(command)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kern.log", "kills.json"]


def _failing_at(last: int) -> Callable[[object], None]:
    """Return what fails when it is called so often."""
    calls = iter(range(last, -1, -1))

    def fail(_moment: object) -> None:
        assert 1 / next(calls)

    return fail


@pytest.mark.parametrize("pure", ["0", "1"])
@pytest.mark.parametrize("hole", [4, 70_000, 3 << 20])
def test_a_hole_of_nuls_is_passed_over(run: Run, tmp_path: Path, hole: int, pure: str) -> None:
    """A log that was emptied while its program wrote on begins with NULs; its lines are read, with their numbers."""
    log = tmp_path / "kern.log"
    log.write_bytes(bytes(hole) + b"\n" + bytes(9) + KILL.format(pid=7, comm="celery").encode())
    result = run(["oom-scan", str(log), "-f", "json"], env={"LEAKHUNT_PURE": pure})
    (kill,) = json.loads(result.out)["kills"]
    assert (kill["pid"], kill["when"], kill["evidence"][0]["line"]) == (7, "2026-11-21T03:10:42Z", 2)
    assert "\0" not in kill["evidence"][0]["text"]


@pytest.mark.parametrize("content", [b"", bytes(200_000)])
def test_a_log_without_anything_in_it_is_no_all_clear(run: Run, tmp_path: Path, content: bytes) -> None:
    """Where all logs are empty nothing was read, which --fail-on-kill must not take for good news; beside one that is not, it is a note."""
    (tmp_path / "worker.log").write_bytes(content)
    result = run(["oom-scan", str(tmp_path), "--fail-on-kill"])
    assert (result.code, result.out) == (2, "")
    assert "there is nothing to read" in result.err
    (tmp_path / "kern.log").write_text("2026-11-21T03:10:42+00:00 node-7 kernel: hello\n", encoding="utf-8")
    result = run(["oom-scan", str(tmp_path), "--fail-on-kill"])
    assert result.code == 0
    assert "No OOM kill in 1 source" in result.out
