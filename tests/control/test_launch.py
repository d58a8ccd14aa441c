from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from leakhunt.capture.settings import Settings
from leakhunt.control.launch import bootstrap, prepare
from leakhunt.errors import LeakhuntError

ON = Settings(agent=True, record=True)


def program(folder: Path, name: str, text: str) -> str:
    """Write a program into a folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def environ(*folders: Path, **more: str) -> dict[str, str]:
    """Return variables whose PATH is these folders, before the system's."""
    return {"PATH": os.pathsep.join((*map(str, folders), os.environ["PATH"])), **more}


def test_the_settings_are_variables() -> None:
    """What is wanted is said by variables; what the surroundings said otherwise is gone, and the rest stays."""
    around = environ(LEAKHUNT_FRAMES="5", LEAKHUNT_TRACE="1", LEAKHUNT_OTHER="kept", HOME="/h")
    start = prepare([sys.executable, "x.py"], ON._replace(folder="/srv/l", every=7), around)
    ours = {name: value for name, value in start.environ.items() if name.startswith("LEAKHUNT_")}
    assert ours == {
        "LEAKHUNT_AGENT": "1",
        "LEAKHUNT_RECORD": "1",
        "LEAKHUNT_EVERY": "7",
        "LEAKHUNT_DIR": "/srv/l",
        "LEAKHUNT_OTHER": "kept",
    }
    assert start.environ["HOME"] == "/h"
    assert (start.path, start.words) == (sys.executable, (sys.executable, "x.py"))


def test_the_bootstrap_comes_first() -> None:
    """The bootstrap's folder is put before a PYTHONPATH that was there, once, however often runs are nested."""
    assert prepare([sys.executable], ON, environ()).environ["PYTHONPATH"] == bootstrap()
    assert prepare([sys.executable], ON, environ(PYTHONPATH="")).environ["PYTHONPATH"] == bootstrap()
    once = prepare([sys.executable], ON, environ(PYTHONPATH="/a:/b")).environ["PYTHONPATH"]
    assert once == f"{bootstrap()}:/a:/b"
    assert prepare([sys.executable], ON, environ(PYTHONPATH=once)).environ["PYTHONPATH"] == once


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ("-S x.py", "S"),
        ("-I x.py", "I"),
        ("-E x.py", "E"),
        ("-IS x.py", "I"),
        ("-uOS -c pass", "S"),
        ("-W error -X dev -sE x.py", "E"),
        ("-Werror -Xdev -I", "I"),
        ("--check-hash-based-pycs always -S x.py", "S"),
    ],
)
def test_options_that_keep_the_agent_out_are_refused(options: str, flag: str) -> None:
    """-S, -I and -E, alone or among others, are refused with what they do and what to do instead."""
    with pytest.raises(LeakhuntError, match=f"cannot be reached: python -{flag} ") as caught:
        prepare([sys.executable, *options.split()], ON, environ())
    assert "leakhunt.celery.install(app)" in caught.value.hint
    assert "LEAKHUNT_AGENT=1 LEAKHUNT_RECORD=1" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        "x.py -S -I",
        "-m http.server -E",
        "-c pass -I",
        "-mpdb -S",
        "-W S x.py",
        "-XSIE",
        "-- -S",
        "- -I",
        "-u",
    ],
)
def test_options_of_the_program_are_its_own(options: str) -> None:
    """What follows the program's name, -c or -m, and the values of options, are no options of Python."""
    prepare([sys.executable, *options.split()], ON, environ())


@pytest.mark.parametrize(
    "line",
    ["#!{python} -I", "#!{python} -sE", "#!/usr/bin/env -S python3 -S", "#! /usr/bin/env -S A=1 python3 -uI"],
)
def test_a_script_s_first_line_is_looked_at(tmp_path: Path, line: str) -> None:
    """A script that is found on the PATH and asks for such an option itself is refused."""
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    program(tmp_path, "tool", line.format(python=python) + "\nprint()\n")
    with pytest.raises(LeakhuntError, match="cannot be reached: python -"):
        prepare(["tool"], ON, environ(tmp_path))


def test_other_scripts_are_taken(tmp_path: Path) -> None:
    """A script of any other first line, and a binary, are started without a look at Python's options."""
    for name, text in [
        ("a", "#!/bin/sh\n"),
        ("b", "\x7fELF"),
        ("c", ""),
        ("d", "#!\n"),
        ("e", "#!/usr/bin/env\n"),
    ]:
        path = program(tmp_path, name, text)
        assert prepare([name, "-S"], ON, environ(tmp_path)).path == path


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("python3.8", "", "python3.8 is Python 3.8; the agent runs in Python 3.9 and later"),
        ("python", "Python 2.7.18", "python is Python 2.7"),
        ("python3", "Python 3.10.14 (39dc8d3c85a7)\n[PyPy 7.3.17]", "python3 is PyPy"),
    ],
)
def test_a_python_without_an_agent_is_refused(tmp_path: Path, name: str, said: str, words: str) -> None:
    """An older Python, known by its name or by its own word, and PyPy, are refused."""
    program(tmp_path, name, f"#!/bin/sh\necho '{said}' >&2\n")
    with pytest.raises(LeakhuntError, match=words):
        prepare([name, "x.py"], ON, environ(tmp_path))


def test_a_command_that_is_not_there_is_told() -> None:
    """A name that is no command is told as such."""
    with pytest.raises(LeakhuntError, match="no-such-thing: no such command"):
        prepare(["no-such-thing"], ON, environ())


def test_what_python_runs_is_known(tmp_path: Path) -> None:
    """An interpreter and its scripts are Python, through ``env`` or a shell's first lines too; others are not."""
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    program(tmp_path, "script", f"#!{python}\n")
    program(tmp_path, "long", f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nprint()\n")
    program(tmp_path, "shell", "#!/bin/sh\nexec celery\n")
    program(tmp_path, "binary", "\x7fELF")
    known = {name: prepare([name], ON, environ(tmp_path)).is_python for name in ("python3", "script", "long")}
    assert known == {"python3": True, "script": True, "long": True}
    others = {name: prepare([name], ON, environ(tmp_path)).is_python for name in ("shell", "binary")}
    assert others == {"shell": False, "binary": False}
