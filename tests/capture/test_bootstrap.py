from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, subprocess_environment

from leakhunt.capture.boot import is_worker

BOOTSTRAP = ROOT / "leakhunt" / "capture" / "bootstrap"
SHOWN = """
import sys
from leakhunt.capture import agent
found = agent.agent()
print(found and (found.here, found.tracing.on), hasattr(sys, "foreign"))
"""
SIGNALS = """
class Signal:
    def connect(self, receiver, weak, dispatch_uid):
        print("connected", dispatch_uid, weak)

def __getattr__(name):
    return Signal()
"""


def run(folder: Path, *argv: str, path: tuple[Path, ...] = (), **variables: str) -> tuple[int, str, str]:
    """Run Python in a folder as ``leakhunt run`` would: its exit code, and what it said where."""
    environ = subprocess_environment(LEAKHUNT_DIR=str(folder / "leakhunt"), **variables)
    environ["PYTHONPATH"] = os.pathsep.join(map(str, (BOOTSTRAP, *path)))
    done = subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        env=environ,
        cwd=folder,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Return a folder with somebody else's sitecustomize."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    code = "import sys\nsys.foreign = (__name__, __file__, sys.modules[__name__].__file__)\n"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return folder


def test_a_plain_script_has_an_agent(tmp_path: Path) -> None:
    """A script that knows nothing of leakhunt has an agent, which traces when it is asked to."""
    (tmp_path / "script.py").write_text(SHOWN, encoding="utf-8")
    assert run(tmp_path, "script.py", LEAKHUNT_TRACE="1") == (0, "(True, True) False\n", "")
    assert run(tmp_path, "-m", "script", LEAKHUNT_AGENT="1") == (0, "(True, False) False\n", "")


def test_nothing_happens_unless_asked(tmp_path: Path) -> None:
    """Where no variable asks for anything, nothing of the agent is loaded."""
    code = "import sys; print(sorted(name for name in sys.modules if name.startswith('leakhunt.')))"
    allowed = "['leakhunt.capture', 'leakhunt.capture.boot', 'leakhunt.version']"
    environ = {"PYTHONPATH": str(BOOTSTRAP), "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=tmp_path, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (allowed, "")


def test_the_sitecustomize_behind_is_run(tmp_path: Path, foreign: Path) -> None:
    """The sitecustomize that leakhunt's stands in front of runs under its own name and is the one that is seen."""
    code = "import sys, sitecustomize; print(sys.foreign, sitecustomize.__file__)"
    theirs = str(foreign / "sitecustomize.py")
    code_, out, err = run(tmp_path, "-c", code, path=(foreign,), LEAKHUNT_AGENT="1")
    assert (code_, err) == (0, "")
    assert out == f"('sitecustomize', {theirs!r}, {theirs!r}) {theirs}\n"


def test_a_sitecustomize_that_is_broken_is_reported_as_ever(tmp_path: Path, foreign: Path) -> None:
    """What the sitecustomize behind raises is said by Python as without leakhunt, and the program runs."""
    (foreign / "sitecustomize.py").write_text("raise ValueError('theirs')", encoding="utf-8")
    (tmp_path / "script.py").write_text(SHOWN, encoding="utf-8")
    code, out, err = run(tmp_path, "script.py", path=(foreign,), LEAKHUNT_AGENT="1")
    assert (code, out) == (0, "(True, False) False\n")
    assert "ValueError: theirs" in err
    assert "leakhunt" not in err


def test_only_leakhunt_becomes_importable(tmp_path: Path) -> None:
    """From where leakhunt is, nothing else can be imported: not what stands beside it."""
    code = """
import sys, importlib.util
print([importlib.util.find_spec(name) is not None for name in ("leakhunt", "tests", "noxfile")])
print([folder for folder in sys.path if "bootstrap" in folder])
"""
    if "site-packages" in str(ROOT):
        pytest.skip("tests and package stand apart")
    assert run(tmp_path, "-c", code, LEAKHUNT_AGENT="1") == (0, "[True, False, False]\n[]\n", "")


def test_another_version_that_is_installed_stands_back(tmp_path: Path) -> None:
    """The agent is of the same version as the command that asks it, whatever the program's environment has."""
    (tmp_path / "lib" / "leakhunt").mkdir(parents=True)
    (tmp_path / "lib" / "leakhunt" / "__init__.py").write_text("__version__ = '0'", encoding="utf-8")
    (tmp_path / "script.py").write_text(SHOWN, encoding="utf-8")
    done = run(tmp_path, "script.py", path=(tmp_path / "lib",), LEAKHUNT_AGENT="1")
    assert done == (0, "(True, False) False\n", "")


def test_broken_settings_are_one_line(tmp_path: Path) -> None:
    """Settings that are not understood are said in one line, and the program runs without an agent."""
    (tmp_path / "script.py").write_text(SHOWN, encoding="utf-8")
    code, out, err = run(tmp_path, "script.py", LEAKHUNT_FRAMES="many")
    assert (code, out) == (0, "None False\n")
    assert err.startswith("leakhunt: LEAKHUNT_FRAMES='many' is not understood, so that nothing is watched")
    assert err.count("\n") == 1


def test_subprocesses_do_not_say_it_again(tmp_path: Path) -> None:
    """What is wrong is said once in a tree of processes."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'])"
    _, _, err = run(tmp_path, "-c", code, LEAKHUNT_FRAMES="many")
    assert err.count("leakhunt") == 1


def test_subprocesses_answer_and_do_nothing_unasked(tmp_path: Path) -> None:
    """What the program starts neither traces nor records; its own forks are as it, and so is a Celery worker anywhere."""
    show = """
import os, tracemalloc
from leakhunt.capture import agent
found = agent.agent()
asked = found and (found.settings.active, found.settings.automatic, found.settings.record)
print(found and found.here, tracemalloc.is_tracing(), asked, flush=True)
"""
    first = "import os; print(os.environ['LEAKHUNT_RUN'] == str(os.getpid()), flush=True)"
    code = f"""
import os, subprocess, sys
show = {show!r}
exec(show)
subprocess.run([sys.executable, "-c", show])
subprocess.run([sys.executable, "-c", {first!r}, "celery", "worker"])
if os.fork() == 0:
    exec(show)
    os._exit(0)
os.wait()
"""
    code_, out, err = run(tmp_path, "-c", code, LEAKHUNT_TRACE="1", LEAKHUNT_EVERY="5", LEAKHUNT_RECORD="1")
    assert (code_, err) == (0, "")
    assert out.splitlines() == [
        "True True (True, True, True)",
        "True False (True, False, False)",
        "True",
        "False True (True, True, True)",
    ]


def test_the_first_process_speaks_for_all(tmp_path: Path) -> None:
    """What stands in the way is said by the first process alone, whatever the variables of those that it starts."""
    code = "import os, subprocess, sys; del os.environ['LEAKHUNT_SAID']; subprocess.run([sys.executable, '-c', ''])"
    _, _, err = run(tmp_path, "-c", code, LEAKHUNT_FRAMES="many")
    assert err.count("leakhunt:") == 1


def test_a_worker_that_is_none_by_its_command_line(tmp_path: Path) -> None:
    """A subprocess that turns out to be a worker gets all that is asked for."""
    code = """
from leakhunt.capture import agent
from leakhunt.capture.settings import Settings
from leakhunt.capture.who import Who
asked = Settings(trace=True, frames=2, every=3)
first = agent.start(asked.only_asked(), modest=True)
print(first.settings == Settings(agent=True, frames=2), first.tracing.on)
print(agent.start(asked, Who("main", "solo")).settings == asked, first.tracing.on)
print(agent.start(Settings(), Who("main", "solo")).settings == asked)
"""
    environ = subprocess_environment(LEAKHUNT_DIR=str(tmp_path / "leakhunt"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=tmp_path, check=True
    )
    assert done.stdout == "True False\nTrue True\nTrue\n"


@pytest.mark.parametrize("again", ["", "importlib.reload(worker)"])
def test_a_celery_worker_is_seen_when_it_is_loaded(tmp_path: Path, again: str) -> None:
    """Loading Celery's worker connects the receivers, and shows the module's own loader; a reload changes nothing."""
    apps = tmp_path / "lib" / "celery" / "apps"
    apps.mkdir(parents=True)
    (apps / "__init__.py").touch()
    (apps.parent / "__init__.py").write_text("current_app = None", encoding="utf-8")
    (apps.parent / "signals.py").write_text(SIGNALS, encoding="utf-8")
    (apps / "worker.py").write_text(
        "print(type(__loader__).__name__, type(__spec__.loader).__name__)", encoding="utf-8"
    )
    code = f"""
import importlib, sys
print("leakhunt.capture.agent" in sys.modules)
import celery.apps.worker as worker
{again}
print(type(worker.__spec__.loader).__name__, importlib.util.find_spec("celery.apps.worker").origin == worker.__file__)
"""
    # As the command line of a worker: then nothing is started before Celery says so.
    words = ("-c", code, "celery", "worker")
    code_, out, err = run(tmp_path, *words, path=(tmp_path / "lib",), LEAKHUNT_AGENT="1")
    assert (code_, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "False"
    assert lines.count("SourceFileLoader SourceFileLoader") == (2 if again else 1)
    assert sum(line.startswith("connected leakhunt.celery.") for line in lines) == 6
    assert not any(line.endswith("True") for line in lines if line.startswith("connected"))
    assert lines[-1] == "SourceFileLoader True"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/srv/venv/bin/celery -A shop worker -l INFO", True),
        ("python -m celery --app=shop worker", True),
        ("python manage.py celery worker", True),
        ("celery -A shop beat", False),
        ("gunicorn shop:app", False),
        ("python worker.py", False),
        ("", False),
    ],
)
def test_a_workers_command_line_is_known(line: str, expected: bool) -> None:
    """What starts a Celery worker is told from its command line."""
    assert is_worker(line.split(" ")) is expected


def test_an_old_python_is_told_and_left_alone(tmp_path: Path, foreign: Path) -> None:
    """Before Python 3.9 one line says that nothing is watched; what stands behind is run."""
    code = f"""
import sys
del sys.modules["sitecustomize"]
sys.version_info = (3, 8, 18)
sys.path.insert(0, {str(BOOTSTRAP)!r})
import sitecustomize
print(sys.foreign[0], "leakhunt" in sys.modules)
"""
    environ = {**subprocess_environment(), "PYTHONPATH": str(foreign)}
    said = "leakhunt: Python 3.9 or later is needed: nothing is watched\n"
    # A program's subprocesses, which a task may start one after the other, say nothing.
    for more, expected in (({}, said), ({"LEAKHUNT_RUN": "1"}, "")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**environ, **more},
            cwd=tmp_path,
            check=True,
        )
        assert done.stdout == "sitecustomize False\n"
        assert done.stderr == expected


def test_an_old_python_can_read_the_file() -> None:
    """The file that every Python reads uses nothing that 3.4 does not know."""
    source = (BOOTSTRAP / "sitecustomize.py").read_text(encoding="ascii")
    assert ast.parse(source, feature_version=(3, 4))
    assert "f'" not in source
    assert 'f"' not in source.replace('of"', "")


def test_hooks_of_a_worker_come_after_ours(tmp_path: Path) -> None:
    """Before anything of a Celery worker is loaded, the hook that runs first in a snapshot's child is there."""
    (tmp_path / "celery").write_text(
        "import sys; print([f'leakhunt.capture.{name}' in sys.modules for name in ('snapshots.forking', 'agent')])\n",
        encoding="utf-8",
    )
    assert run(tmp_path, "celery", "worker", LEAKHUNT_AGENT="1") == (0, "[True, False]\n", "")


def test_hooks_of_a_program_come_after_ours(tmp_path: Path) -> None:
    """What a program's fork hook says to a connection of the program's is not heard when a snapshot is taken."""
    (tmp_path / "script.py").write_text(
        "import os, socket, time\n"
        "from leakhunt.capture.agent import agent\n"
        "ours, theirs = socket.socketpair()\n"
        "os.register_at_fork(after_in_child=lambda: ours.send(b'Terminate'))\n"
        "path = agent().snapshot()\n"
        "while not os.path.exists(path): time.sleep(0.01)\n"
        "ours.close()\n"
        "print(theirs.recv(100))\n",
        encoding="utf-8",
    )
    assert run(tmp_path, "script.py", LEAKHUNT_AGENT="1") == (0, "b''\n", "")
