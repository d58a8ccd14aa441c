"""What the tests share: the command line run in-process on a fixed console, and snapshots made by hand."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jsonschema
import pytest
from hypothesis import HealthCheck, settings

from leakhunt.cli import run as run_leakhunt
from leakhunt.model.snapshot import Columns, Frame, Snapshot

# A busy machine is slow at drawing examples, too; that says nothing of what is tested.
_SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time, so that who runs the tests learns of his own change; 'nox -s fuzz' draws new ones.
settings.register_profile("steady", _SLOW, max_examples=40, derandomize=True)
settings.register_profile("search", _SLOW, max_examples=400)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent
CELERY = "fixtures/snapshots/celery"
APP = f"{CELERY}/app"
LEAKS = ("global_list", "cache_by_id", "class_registry", "callbacks", "kept_exceptions")

_CONSOLE = {"COLUMNS": "80", "LINES": "24", "NO_COLOR": "1", "TERM": "xterm"}


@dataclass(frozen=True)
class Result:
    """What a run left: its exit code, and what it said where."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs leakhunt in this process, in the root of the repository."""

    def __call__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes = b"",
        encoding: str = "utf-8",
        terminal: bool = False,
    ) -> Result:
        """Run leakhunt.

        Args:
            arguments: the words of the command line.
            env: variables to set, or with None to unset, beside the fixed console's.
            stdin: what standard input holds.
            encoding: the encoding of standard output and standard error.
            terminal: whether both of them say that they are a terminal.
        """


class _Stream(io.TextIOWrapper):
    """Standard output or standard error, with bytes behind it."""

    def __init__(self, encoding: str, *, errors: str = "strict", terminal: bool) -> None:
        self._bytes = io.BytesIO()
        self._terminal = terminal
        super().__init__(self._bytes, encoding=encoding, errors=errors, newline="")

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        """Return what was written until now."""
        self.flush()
        return self._bytes.getvalue().decode(self.encoding)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs leakhunt on a console of 80 columns without colour."""

    def runner(
        arguments: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes = b"",
        encoding: str = "utf-8",
        terminal: bool = False,
    ) -> Result:
        out = _Stream(encoding, terminal=terminal)
        err = _Stream(encoding, errors="backslashreplace", terminal=terminal)
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            for name, value in {**_CONSOLE, **(env or {})}.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            return Result(run_leakhunt(arguments), out.text(), err.text())

    return runner


def celery(case: str, *moments: str) -> list[str]:
    """Return the snapshots of a Celery case, by default all three, as the command line names them."""
    return [f"{CELERY}/{case}/{moment}.bin.xz" for moment in moments or ("before", "after", "later")]


@dataclass(frozen=True)
class Blocks:
    """Blocks of one traceback: ``stack`` is oldest first."""

    stack: tuple[tuple[str, int], ...]
    size: int
    count: int = 1
    domain: int = 0


def snapshot_of(
    *rows: Blocks,
    path: str = "now.bin",
    limit: int | None = 10,
    capture: dict[str, Any] | None = None,
) -> Snapshot:
    """Build a snapshot from rows, each frame once."""
    frames: dict[Frame, int] = {}
    stacks = [tuple(frames.setdefault(Frame(*frame), len(frames)) for frame in row.stack) for row in rows]
    return Snapshot(
        path=path,
        frames=tuple(frames),
        rows=Columns(
            domains=[row.domain for row in rows],
            stacks=stacks,
            sizes=[row.size for row in rows],
            counts=[row.count for row in rows],
        ),
        traceback_limit=limit,
        trace_fields=4,
        capture=capture,
    )


def line(filename: str, lineno: int, size: int, count: int = 1) -> Blocks:
    """Return blocks whose stack is one frame."""
    return Blocks(((filename, lineno),), size, count)


def subprocess_environment(**more: str) -> dict[str, str]:
    """Return the environment for a real process on the same console, coverage and the like left alone."""
    return {**os.environ, **_CONSOLE, "PYTHONPATH": str(ROOT), **more}


def document(run: Run, command: str, *arguments: str) -> dict[str, Any]:
    """Return what a command says as JSON, once it has passed its schema."""
    result = run([command, *arguments, "--format", "json"])
    assert (result.code, result.err) == (0, "")
    parsed: dict[str, Any] = json.loads(result.out)
    jsonschema.Draft202012Validator(schema(command)).validate(parsed)
    return parsed


def schema(command: str) -> dict[str, Any]:
    """Return the schema of a command's JSON, as the package ships it."""
    path = ROOT / f"leakhunt/schemas/{command.partition('-')[0]}-1.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def squeezed(text: str) -> str:
    """Return a text without any blank, to find words in it that a narrow screen breaks."""
    return "".join(text.split())


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that writes the goldens anew."""
    parser.addoption(
        "--update-goldens", action="store_true", help="write tests/golden/* from what is printed now"
    )


def pairs(sizes: Iterable[int], filename: str = "/srv/app/shop/cache.py", lineno: int = 14) -> list[Snapshot]:
    """Return one snapshot for each size of one line."""
    return [snapshot_of(line(filename, lineno, size)) for size in sizes]
