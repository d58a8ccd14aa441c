from __future__ import annotations

import re
import shlex

import click
import pytest
from conftest import Run, squeezed

from leakhunt.cli import cli
from leakhunt.version import __version__

COMMANDS = tuple(cli.list_commands(click.Context(cli)))
LIVE = frozenset({"agents", "attach", "hunt", "run", "snap", "trace"})  # their examples need a process
SENTENCE = re.compile(r"[A-Z][^.]*\.")


def examples(text: str) -> list[list[str]]:
    """Return the command lines below ``Examples:`` that use fixtures only, as words."""
    block = text.rpartition("Examples:\n")[2].replace("\\\n", " ")
    lines = [shlex.split(line) for line in block.splitlines() if line.strip().startswith("leakhunt ")]
    return [words for words in lines if any(word.startswith("fixtures/") for word in words)]


def test_the_version_is_the_package_s(run: Run) -> None:
    """``--version`` prints name and version, and nothing else."""
    assert run(["--version"]).out == f"leakhunt {__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_program_s_help_lists_every_command(run: Run, flag: str) -> None:
    """The help begins with what leakhunt is for, lists each command, and ends with the exit codes."""
    result = run([flag])
    assert (result.code, result.err) == (0, "")
    assert "Find what grows in long-lived Python workers" in result.out
    assert all(f"\n  {command} " in result.out for command in COMMANDS)
    assert result.out.rstrip().endswith("2 could not run.")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_one_sentence(run: Run, command: str) -> None:
    """The help of a command begins with its usage and one sentence in a paragraph of its own."""
    result = run([command, "-h"])
    usage, first = result.out.split("\n\n")[:2]
    assert (result.code, result.err) == (0, "")
    assert usage.startswith(f"Usage: leakhunt {command} ")
    assert SENTENCE.fullmatch(" ".join(first.split()))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_console(run: Run, command: str) -> None:
    """At 80 columns no line of a help but an example's is wider."""
    text = run([command, "-h"]).out.rpartition("Examples:")[0]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_run(run: Run, command: str) -> None:
    """The help ends with two or three examples; those on fixtures run and say something."""
    text = run([command, "-h"]).out
    block = text.rpartition("  Examples:\n")[2]
    assert all(line.startswith("    ") for line in block.splitlines())
    assert 2 <= len(re.findall(r"(?:^|\| )\s*leakhunt ", block, re.MULTILINE)) <= 3
    found = examples(text)
    assert bool(found) != (command in LIVE)
    for program, *arguments in found:
        result = run(arguments)
        assert (program, result.code, result.err) == ("leakhunt", 0, "")
        assert result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command: str) -> None:
    """Each option of each command says what it does."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    for option in found.params:
        assert not isinstance(option, click.Option) or option.help, option.name


def test_no_arguments_at_all_show_the_help(run: Run) -> None:
    """Without a command the help shows."""
    result = run([])
    assert "Usage: leakhunt" in squeezed(result.out + result.err).replace("Usage:leakhunt", "Usage: leakhunt")
