from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import ROOT, Run, subprocess_environment

from leakhunt.cli import cli

README = ROOT / "README.md"
COMMANDS = tuple(cli.list_commands(click.Context(cli)))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def readme() -> str:
    """Return the README."""
    return README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's fenced blocks of a language."""
    return [text for name, text in FENCE.findall(readme()) if name == language]


def sessions() -> list[tuple[str, str]]:
    """Return the command lines of the README that begin with ``$ leakhunt`` and show output, with the output."""
    found = []
    for _, text in FENCE.findall(readme()):
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = step.replace("\\\n", " ").partition("\n")
            if command.startswith("leakhunt ") and output.strip():
                found.append((command, output))
    return found


def stripped(text: str) -> list[str]:
    """Return the lines of a text without blanks at their ends and without empty lines around."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    """Each command stands in the README as one would type it."""
    assert f"leakhunt {command}" in readme()


def test_the_readme_s_python_runs() -> None:
    """Each Python block of the README runs in the root of the repository, without a warning."""
    found = blocks("python")
    assert found, "README.md has no ```python block"
    for text in found:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            capture_output=True,
            check=False,
            text=True,
            cwd=ROOT,
            env=subprocess_environment(),
        )
        assert done.returncode == 0, done.stderr


def test_the_readme_shows_what_is_printed(run: Run) -> None:
    """Each console session of the README that shows output of ``leakhunt`` shows the real one, at 80 columns."""
    found = sessions()
    assert any(command.startswith("leakhunt diff ") for command, _ in found), (
        "no '$ leakhunt diff' in README.md"
    )
    for command, output in found:
        result = run(shlex.split(command)[1:])
        assert stripped(result.out) == stripped(output), command


def test_the_readme_s_files_exist() -> None:
    """Every fixture that the README names is there."""
    for name in re.findall(r"fixtures/[\w./-]*\w", readme()):
        assert Path(ROOT / name).exists(), name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_function_is_documented_where_it_is(command: str) -> None:
    """The module of a command is named for it, and its help is its docstring."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert found.name == command
    assert found.help
    assert found.epilog
    assert (ROOT / f"leakhunt/cli/{command.replace('-', '_')}.py").exists()
