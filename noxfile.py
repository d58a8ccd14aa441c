"""Sessions: tests, lint, types, readme, build by default; bench, fuzz and fixtures on demand."""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests", "readme", "build"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
# What these test looks into no interpreter: the oldest and the newest Python stand for those between.
SAME_EVERYWHERE = (
    *("tests/analysis", "tests/golden", "tests/model", "tests/render", "tests/test_architecture.py"),
    *("tests/readers/kernel_log", "tests/readers/signs", "tests/readers/worker_log"),
)


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def found_pythons() -> list[str]:
    """Return an interpreter for each supported version that this machine has, pyenv's among them."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = []
    for version in VERSIONS:
        candidates = [f"python{version}", *sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python"))]
        works = (path for path in map(shutil.which, candidates) if path and _answers(path, version))
        found.extend([next(works, "")])
    return [path for path in found if path]


def _answers(path: str, version: str) -> bool:
    """Tell whether a command is that Python and can make environments."""
    code = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == version


def compiles() -> bool:
    """Tell whether extensions for the stable ABI can be compiled here: a compiler, CPython's headers, and its lock."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(compiler[0]) or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    tried = subprocess.run(
        [*compiler, "-I", sysconfig.get_path("include"), "-fsyntax-only", "-x", "c", "-"],
        input=b"#include <Python.h>\n#ifdef PYPY_VERSION\n#error\n#endif\n",
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


PYTHONS = found_pythons()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheel, on each Python found; all of them on the oldest and the newest.

    What fails beside others is run once more alone, and has failed if it fails again.
    """
    session.install(".", *group("test"))
    workers = str(min(4, (os.cpu_count() or 1) + 1))  # one more than cores: many tests wait for a process
    between = () if session.python in {*PYTHONS[:1], *PYTHONS[-1:]} or session.posargs else SAME_EVERYWHERE
    left_out = [f"--ignore={path}" for path in between]
    options = ["-n", workers, "--dist", "worksteal", *left_out, *session.posargs]
    session.run("python", "tests/patience.py", "pytest", *options)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, of the package and of its tests."""
    session.install(".", *group("types"))
    session.run("mypy", "leakhunt", "tests", "noxfile.py")


@nox.session
def readme(session: nox.Session) -> None:
    """Check that what the README shows is what the program prints; ``-- --update`` writes it anew."""
    session.install(".")
    session.run("python", "tests/readme.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source archive, and look at what is in them."""
    session.install("build", "twine")
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run(
        "python", "-m", "build", "--outdir", str(folder), "--config-setting=--build-option=--py-limited-api=cp39",
        env={"CFLAGS": "-O2 -Wall -Wextra -Werror"},
    )  # fmt: skip
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")
    listing = str(session.run("python", "-m", "zipfile", "-l", str(wheel), silent=True))
    sources = str(session.run("python", "-m", "tarfile", "-l", str(archive), silent=True))
    needed = ["leakhunt/py.typed", *glob.glob("leakhunt/schemas/*.json")]
    if compiles():
        needed.append("leakhunt/readers/_fast.abi3.so")
    else:
        session.warn("no compiler for this Python: the wheel is without its compiled part")
    for name in needed:
        if name not in listing:
            session.error(f"{name} is missing from the wheel")
    if ".c " in listing or "leakhunt/readers/_fast.c" not in sources:
        session.error("the C source belongs into the source archive, and only there")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the standard library, grep, Celery's tracer and our own estimate of memory, in the same run."""
    session.install(".", *group("workers"))
    session.run("python", "tests/benchmarks/diff.py", *session.posargs)
    session.run("python", "tests/benchmarks/kernel_log.py", "--size", "1024", "--rounds", "3")
    session.run("python", "tests/benchmarks/capture.py", "--rounds", "3")
    session.run("python", "tests/benchmarks/headroom.py")
    session.run("python", "tests/benchmarks/recorder.py")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Draw new examples for what the tests state of any input, then damage snapshots and logs for ``-- SECONDS``."""
    session.install(".", *group("test"))
    session.run("pytest", "-n", "auto", "-m", "hypothesis", "--hypothesis-profile=search")
    session.run("python", "tests/benchmarks/fuzz.py", *session.posargs)


@nox.session
def fixtures(session: nox.Session) -> None:
    """Make the Celery fixtures anew, with real workers on a real Redis; kills need root and a memory controller."""
    session.install(".", *group("fixtures"))
    session.run("python", "fixtures/snapshots/celery/make.py", *session.posargs)
    if os.geteuid() == 0:
        session.run("python", "fixtures/oom/make.py")
