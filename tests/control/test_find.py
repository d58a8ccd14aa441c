from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_tools import Child, bystander, stand_in

from leakhunt.capture.mailbox import open_below
from leakhunt.control.find import everyone, find, of_celery
from leakhunt.control.process import read_process, resolved
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_an_agent_is_found_by_its_process(tmp_path: Path) -> None:
    """The folder is known from the process's own variables, whatever ours are."""
    with stand_in(tmp_path, node="celery@web-1", name="ForkPoolWorker-2", role="child") as child:
        agent = find(child.pid)
        assert agent.box.folder == str(tmp_path)
        assert agent.title == f"{child.pid} (celery@web-1 ForkPoolWorker-2)"
        assert agent.registration.start == agent.process.start > 0


def test_what_has_no_agent_is_told_what_to_do() -> None:
    """A process without an agent, and a number that is no process's, are told apart."""
    with bystander() as pid:
        with pytest.raises(LeakhuntError, match="has no leakhunt agent") as caught:
            find(pid)
        assert "leakhunt run" in caught.value.hint
        assert (f"leakhunt attach {pid}" in caught.value.hint) == (sys.version_info >= (3, 14))
    with pytest.raises(LeakhuntError, match=f"there is no process {pid}"):
        find(pid)
    with pytest.raises(LeakhuntError, match="0 is not the number of a process"):
        find(0)


@pytest.mark.parametrize(
    ("version", "said", "offered"), [((3, 14), "or not yet", True), ((3, 11), "it runs Python 3.11", False)]
)
def test_an_agent_is_offered_where_it_can_be_brought(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], said: str, offered: bool
) -> None:
    """``leakhunt attach`` is named for Python 3.14 and later alone; an older one has to be started with an agent."""
    monkeypatch.setattr("leakhunt.control.missing.version_of", lambda _: version)
    with bystander() as pid, pytest.raises(LeakhuntError, match=said) as caught:
        find(pid)
    assert ("leakhunt attach" in caught.value.hint) == offered
    assert "leakhunt run" in caught.value.hint


def test_what_is_no_python_is_told_so() -> None:
    """For a shell neither an agent nor a restart is offered."""
    with Child(["sh", "-c", "echo ready; read line"]) as shell:
        with pytest.raises(LeakhuntError, match="shows no sign of CPython") as caught:
            find(shell.pid)
        assert caught.value.hint == "name the Python process itself, not a shell around it"


def test_a_process_that_hides_its_files_may_be_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the version may not be known, both ways are named."""

    def hidden(_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("leakhunt.control.missing.version_of", hidden)
    with bystander() as pid, pytest.raises(LeakhuntError) as caught:
        find(pid)
    assert f"if it runs Python 3.14 or later: leakhunt attach {pid}" in caught.value.hint


def test_a_registration_of_the_dead_is_no_one_s(tmp_path: Path) -> None:
    """The number of a process that ended, in another's hands, finds no agent: the start must be the same."""
    with stand_in(tmp_path) as child:
        registered = find(child.pid).box.path
    with bystander() as pid:
        start = read_process(pid).start
        os.rename(registered, os.path.join(os.path.dirname(registered), f"{pid}-{start + 1}"))
        with pytest.raises(LeakhuntError, match="has no leakhunt agent"):
            find(pid)


def test_celery_s_processes_are_those_that_run_tasks(tmp_path: Path) -> None:
    """--celery takes pool children, and the one process of other pools, by a glob on the node's name."""
    about = [
        {"role": "main", "pool": "prefork", "node": "celery@x1"},
        {"role": "child", "pool": "prefork", "node": "celery@x1", "name": "ForkPoolWorker-1"},
        {"role": "main", "pool": "threads", "node": "bulk@x2"},
        {"role": "process"},
    ]
    with (
        stand_in(tmp_path / "0", **about[0]) as main,
        stand_in(tmp_path / "1", **about[1]) as child,
        stand_in(tmp_path / "2", **about[2]) as threads,
        stand_in(tmp_path / "3", **about[3]) as other,
    ):
        mine = {main.pid, child.pid, threads.pid, other.pid}
        found = {agent.pid for agent in everyone().agents}
        assert mine <= found

        def chosen(node: str = "") -> set[int]:
            return {agent.pid for agent in of_celery(node).agents} & mine

        assert chosen() == {child.pid, threads.pid}
        assert chosen("celery@*") == {child.pid}
        assert chosen("bulk") == {threads.pid}
        assert chosen("*@x2") == {threads.pid}
        assert chosen("nobody") == set()


def test_a_registration_is_bounded_and_checked(tmp_path: Path) -> None:
    """Long names are cut; a registration that is no such thing, or a link, finds no agent."""
    with stand_in(tmp_path, node="n" * 5000) as child:
        agent = find(child.pid)
        assert len(agent.title) < 300
        path = Path(agent.box.path, "agent.json")
        whole = path.read_bytes()
        for broken in (
            b"",
            b"[]",
            b"[" * 5000,
            whole.replace(b'"signal": 23', b'"signal": "23"'),
            whole + b" " * 70_000,
        ):
            path.write_bytes(broken)
            with pytest.raises(LeakhuntError, match="has no leakhunt agent"):
                find(child.pid)
        path.unlink()
        path.symlink_to("/etc/passwd")
        with pytest.raises(LeakhuntError, match="has no leakhunt agent"):
            find(child.pid)


def test_links_are_followed_below_the_root_only(tmp_path: Path) -> None:
    """A link of a foreign root leads to where the process itself would get, never out of that root."""
    inner = tmp_path / "root"
    (inner / "run" / "app").mkdir(parents=True)
    (inner / "var").mkdir()
    (inner / "var" / "run").symlink_to("/run")
    (inner / "up").symlink_to("../../../run/app")
    (inner / "round").symlink_to("round")
    root = str(inner)
    assert resolved("/var/run/app", root) == "/run/app"
    assert resolved("/up/./x/..", root) == "/run/app"
    assert resolved("/round/x", root) == "/round/x"
    os.close(open_below("/run/app", root))
    for path in ("/var/run/app", "/run/../../etc"):
        with pytest.raises(OSError):  # noqa: PT011 - which one is the system's choice
            open_below(path, root)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "up", "out", "far"]), max_size=12))
def test_no_path_leaves_its_root(names: list[str]) -> None:
    """Whatever links and dots a path has, and however they go round, what is opened lies below the root."""
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(os.path.join(root, "a", "b"))
        os.symlink("../../../..", os.path.join(root, "a", "up"))
        os.symlink("/../etc", os.path.join(root, "out"))
        os.symlink("a/up/far", os.path.join(root, "far"))
        path = "/" + "/".join(names)
        found = resolved(path, root)
        assert found.startswith("/")
        assert found in {"/", path} or not {"..", ".", ""} & set(found.split("/")[1:])
        try:
            fd = open_below(found, root)
        except OSError:
            return
        try:
            assert os.path.realpath(f"/proc/self/fd/{fd}").startswith(os.path.realpath(root))
        finally:
            os.close(fd)
