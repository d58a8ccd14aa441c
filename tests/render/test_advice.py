from __future__ import annotations

from leakhunt.model.report import Report
from leakhunt.render import markdown, terminal

COMMAND = "leakhunt diff before_1.bin after_1.bin"
REPORT = Report("Nothing.", (), (), advice=("Each process by itself:", COMMAND))


def test_a_command_is_left_in_one_piece() -> None:
    """On a screen of any width a command is one line, to be copied; a sentence is broken."""
    lines = terminal.render(REPORT, width=20, color=False).splitlines()
    assert lines[-3:] == ["Each process by", "itself:", COMMAND]


def test_a_command_is_code_in_markdown() -> None:
    """A pull request's comment shows it as code, with its underscores; a sentence is a paragraph."""
    assert markdown.render(REPORT).splitlines()[-3:] == [
        "Each process by itself:",
        "",
        "<code>leakhunt diff before&#95;1.bin after&#95;1.bin</code>",
    ]
