"""Start a command with an agent in it: variables that say what is wanted, and a folder first on PYTHONPATH."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

import leakhunt.capture
from leakhunt.capture.settings import PREFIX, Settings, variable
from leakhunt.errors import LeakhuntError

_OLDEST = (3, 9)
_PYTHON = re.compile(r"(?:python|pypy)(?:(\d)(?:\.(\d{1,3}))?t?)?")
_VERSION = re.compile(r"Python (\d)\.(\d{1,3})")
_SHEBANG_LIMIT = 256  # as the kernel
_BY_SHELL = b"'''exec' "
_VERSION_TIMEOUT_S = 5.0
_WITH_VALUE = "WX"  # options of Python whose value is the rest of the word, or the next
_OF_ENV = frozenset({"-S", "--split-string", "-v", "--debug"})
_LAST = "cm"  # what follows these is the program's
_WHY_NOT = {
    "S": "python -S leaves out the site module, through which the agent is loaded",
    "I": "python -I ignores PYTHONPATH, through which the agent is loaded",
    "E": "python -E ignores PYTHONPATH, through which the agent is loaded",
}
_INSTEAD = "leave that option out, or call leakhunt.celery.install(app) in the program and set {} beside"

_OURS = frozenset(map(variable, Settings._fields))
_OTHERS = frozenset({f"{PREFIX}{name}" for name in ("PURE", "RUN", "SAID")})  # for other ends


class Start(NamedTuple):
    """What is to be started.

    Attributes:
        path: the program's file.
        words: its name and arguments.
        environ: its variables.
        is_python: whether it is seen to be run by Python; any other may start or embed one all the same.
    """

    path: str
    words: tuple[str, ...]
    environ: Mapping[str, str]
    is_python: bool = True

    def replace_this_process(self) -> NoReturn:
        """Become the program.

        Raises:
            LeakhuntError: the system refuses it.
        """
        for name in (
            "SIGPIPE",
            "SIGXFSZ",
        ):  # Python ignores these, and what is ignored stays so in the program
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        try:
            os.execve(self.path, self.words, dict(self.environ))  # noqa: S606 - the user's own command
        except OSError as error:
            raise LeakhuntError(f"{self.path}: cannot be started: {error.strerror}") from None


def prepare(command: Sequence[str], settings: Settings, environ: Mapping[str, str]) -> Start:
    """Work out how a command is started with an agent in it.

    Args:
        command: its name and arguments.
        settings: what the agent does.
        environ: the variables of this process.

    Raises:
        LeakhuntError: there is no such command, or an agent cannot get into it.
    """
    path = shutil.which(command[0], path=environ.get("PATH", os.defpath))
    if path is None:
        raise LeakhuntError(
            f"{command[0]}: no such command",
            "write it as the shell would find it: leakhunt run -- celery -A proj worker",
        )
    is_python = False
    for python, words in _interpreters(path, command, environ):
        _reachable(words, settings)
        _recent(python, words[0])
        is_python = True
    return Start(path, tuple(command), _variables(settings, environ), is_python)


def mistyped(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables that look like ours and are none, each with the one that may be meant, or an empty text."""
    strange = sorted(name for name in environ if name.startswith(PREFIX) and name not in _OURS | _OTHERS)
    return [(name, "".join(difflib.get_close_matches(name, _OURS, 1))) for name in strange]


def bootstrap() -> str:
    """Return the folder whose ``sitecustomize`` loads the agent."""
    return os.path.join(os.path.dirname(os.path.abspath(leakhunt.capture.__file__)), "bootstrap")


def _variables(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the program's variables: what the settings say, and nothing that contradicts them."""
    ours = _OURS | {
        PREFIX + "RUN",
        PREFIX + "SAID",
    }  # of the tree of processes that this command itself stands in
    variables = {name: value for name, value in environ.items() if name not in ours}
    variables.update(settings.to_environment())
    there = [folder for folder in environ.get("PYTHONPATH", "").split(os.pathsep) if folder != bootstrap()]
    variables["PYTHONPATH"] = os.pathsep.join((bootstrap(), *there)) if any(there) else bootstrap()
    return variables


def _interpreters(
    path: str, command: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the Python that runs a command, with its own words, if that is seen: itself, or a script's first line."""
    if _PYTHON.fullmatch(os.path.basename(command[0])):
        yield path, command
        return
    try:
        with open(path, "rb") as file:
            line, _, second = file.read(2 * _SHEBANG_LIMIT).partition(b"\n")
    except OSError:
        return
    if not line.startswith(b"#!"):
        return
    words = os.fsdecode(line[2:_SHEBANG_LIMIT]).split()
    if second.startswith(_BY_SHELL):  # as pip writes it where the interpreter's path is long
        words = os.fsdecode(second[len(_BY_SHELL) :].partition(b"\n")[0]).replace('"', "").split()
    if words and os.path.basename(words[0]) == "env":
        words = list(itertools.dropwhile(lambda word: word in _OF_ENV or "=" in word, words[1:]))
    if words and _PYTHON.fullmatch(os.path.basename(words[0])):
        python = shutil.which(words[0], path=environ.get("PATH", os.defpath))
        if python is not None:
            yield python, words


def _reachable(words: Sequence[str], settings: Settings) -> None:
    """Refuse options of Python that keep the agent out.

    Raises:
        LeakhuntError: there is such an option.
    """
    for flag in _flags(words[1:]):
        if flag in _WHY_NOT:
            variables = " ".join(f"{name}={value}" for name, value in settings.to_environment().items())
            raise LeakhuntError(
                f"this program cannot be reached: {_WHY_NOT[flag]}", _INSTEAD.format(variables)
            )


def _flags(words: Sequence[str]) -> Iterator[str]:
    """Yield the one-letter options of Python up to the program's name."""
    waiting = iter(words)
    for word in waiting:
        if word == "--check-hash-based-pycs":
            next(waiting, None)
        elif word.startswith("--") and word != "--":
            continue
        elif not word.startswith("-") or word in {"-", "--"}:
            return
        else:
            for place, flag in enumerate(word[1:], 2):
                yield flag
                if flag in _LAST:
                    return
                if flag in _WITH_VALUE:
                    if place == len(word):
                        next(waiting, None)
                    break


def _recent(python: str, name: str) -> None:
    """Refuse a Python that the agent does not run in.

    Raises:
        LeakhuntError: it is older than the agent, or another implementation.
    """
    version, pypy = _version(python)
    if pypy:
        raise LeakhuntError(f"{name} is PyPy, which cannot trace allocations", "run the program with CPython")
    if version is not None and version < _OLDEST:
        raise LeakhuntError(
            f"{name} is Python {version[0]}.{version[1]}; the agent runs in Python 3.9 and later",
            "snapshots that such a program writes itself can be read: leakhunt diff before.bin after.bin",
        )


def _version(python: str) -> tuple[tuple[int, int] | None, bool]:
    """Find out a Python's version, by its name or by asking it, and whether it is PyPy."""
    match = _PYTHON.fullmatch(os.path.basename(os.path.realpath(python)))
    if match and match[2] and not match[0].startswith("pypy"):
        return (int(match[1]), int(match[2])), False
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the user is about to start
            [python, "-V"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None, False
    said = done.stdout[:1000].decode("utf-8", "replace")
    found = _VERSION.search(said)
    return (int(found[1]), int(found[2])) if found else None, "PyPy" in said
