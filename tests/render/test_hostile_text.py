"""What a stranger's snapshot names is shown, never obeyed, in every format."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from pathlib import Path

import pytest
from conftest import Blocks, snapshot_of

from leakhunt.api import snapshots as api
from leakhunt.model.snapshot import Skipped
from leakhunt.model.statistics import DiffResult
from leakhunt.present.snapshots import diff_report, top_report
from leakhunt.present.snapshots_document import document
from leakhunt.render import csv as csv_format
from leakhunt.render import github, markdown, terminal
from leakhunt.render import json as json_format
from leakhunt.render.text import plain

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "c1": "\x9b31m",
    "newline": "a\r\nb\n::error::owned\n# owned\n",
    "bidi": "\u202egnp.exe\u2066",
    "zero width": "pay\u200bload\ufeff",
    "separator": "a\u2028b\u2029c\x85d\x0be",
    "pipe": "a | b || c",
    "backtick": "`a` ``b``",
    "emphasis": "**a** __b__ ~~c~~ \\*d",
    "html": "<img src=x onerror=alert(1)></code></td><!-- a",
    "entity": "&lt;script&gt; &#60;",
    "link": "[a](https://evil.example) https://evil.example www.evil.example",
    "mention": "@admins #123",
    "workflow": "::error::owned",
    "property": "a,line=1::owned%0A::error::b",
    "percent": "100%25%0A",
    "formula": '=cmd|" /C calc"!A0',
    "plus": "+1+1",
    "at": "@SUM(1)",
    "tab": "\t=1",
    "quote": "a\"b'c,d;e",
    "surrogate": "a\ud800b\udcff",
    "markup": "[bold]a[/bold] [link=https://evil.example]b[/link] :smile:",
    "percent format": "%s %(a)s {0} {a}",
    "long": "x" * 500,
    "wide": "漢" * 60,
    "nul": "a\x00b",
}

hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
place = pytest.mark.parametrize("group_by", ["lineno", "traceback", "task", "module"])


def compared(text: str, group_by: str = "lineno") -> DiffResult:
    """Return a comparison in which a file, a task, a host, the path and what was skipped are named by a text."""
    filename = f"/srv/app/{text}"
    made = {"tasks": {text: {"file": filename, "first": 1, "last": 9}}, "python": text}
    stack = (("/srv/app/main.py", 1), (filename, 5))
    before = snapshot_of(Blocks(stack, 10), path=text, capture={**made, "host": "a"})
    after = snapshot_of(Blocks(stack, 5 << 20), path=f"{text}2", capture={**made, "host": text})
    result = api.diff(
        [before, after], group_by=group_by, sources=[Path(__file__).parent], exclude=[f"{text}:99"]
    )
    skipped = (*result.skipped, Skipped(text, text))
    return DiffResult(**{**vars(result), "skipped": skipped})


@hostile
@place
@pytest.mark.parametrize("width", [20, 80, 100_000])
def test_a_terminal_is_told_nothing(text: str, group_by: str, width: int) -> None:
    """A table holds no character but printable ones and our own line ends, and shows markup as it stands."""
    table = terminal.render(diff_report(compared(text, group_by)), width=width, color=False)
    lines = table.split("\n")
    assert all(plain(line) == line for line in lines)
    assert "".join(plain(text).split()) in "".join("".join(lines).split())


@hostile
def test_color_is_ours_alone(text: str) -> None:
    """With colour, the only escape sequences are those that set it."""
    table = terminal.render(diff_report(compared(text)), width=80, color=True)
    without = re.sub(r"\x1b\[[\d;]*m", "", table)
    assert all(plain(line) == line for line in without.split("\n"))
    assert set(re.findall(r"\x1b\[([\d;]*)m", table)) <= {"0", "1", "2", "33", "36"}


@hostile
@place
def test_markdown_has_no_markup_but_ours(text: str, group_by: str) -> None:
    """Markdown holds our table and our few tags; what was named is text in it, on its own line."""
    page = markdown.render(diff_report(compared(text, group_by)))
    lines = page.splitlines()
    assert all(plain(line) == line for line in lines)
    assert set(re.findall(r"<[^>]*>?", page)) <= {"<code>", "</code>", "<br>", "<sub>", "</sub>"}
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert {row.count("|") for row in rows} == {8}
    for line in lines:
        free = re.sub(r"^\*\*|\*\*$|^> \*\*[A-Z][a-z ]+:\*\* ", "", line)
        assert not re.search(r"[`*_\[\]~@\\]|://|\bwww\.|(?<!&)#", free)
        assert not line.startswith(("#", "    ", "- ", "+ ", "1."))


@hostile
def test_markdown_shows_what_was_named(text: str) -> None:
    """A page shows the name as it is, control characters as escapes."""
    page = html.unescape(markdown.render(diff_report(compared(text)))).replace("\u200b", "")
    assert plain(text) in page


@pytest.mark.parametrize("text", ["@admins", "#123"])
def test_nobody_is_mentioned_outside_of_code(text: str) -> None:
    """GitHub looks for mentions after entities are read, so an invisible space parts the sign from the name."""
    page = markdown.render(diff_report(compared(text)))
    outside = re.sub(r"<code>.*?</code>", "", page)
    read = html.unescape(outside)
    assert text not in read
    assert f"{text[0]}\u200b{text[1:]}" in read


@hostile
@place
def test_csv_starts_no_formula(text: str, group_by: str) -> None:
    """Every row of CSV parses to as many fields as the header, and no text starts a formula."""
    page = csv_format.render(diff_report(compared(text, group_by)))
    assert all(plain(line) == line for line in page.split("\n"))
    header, *rows = csv.reader(io.StringIO(page, newline=""))
    assert len(rows) == 1
    for row in rows:
        assert len(row) == len(header)
        for name, field in zip(header, row):
            if name in ("place", "task"):
                assert not field.startswith(("=", "+", "-", "@", "\t", "\r"))
                assert field in ("", plain(field))


@hostile
@place
def test_github_gets_one_command_a_line(text: str, group_by: str) -> None:
    """Each line is one workflow command of ours; what was named cannot begin another or add a property."""
    report = diff_report(compared(text, group_by))
    page = github.render(report)
    command = re.compile(r"::(?:notice|warning|error) (?:file=[^,:]*,(?:line=\d+,)?)?title=[^,:]*::[^\r\n]*")
    lines = page.removesuffix("\n").split("\n")
    assert len(lines) == 1 + len(report.annotations) + len(report.warnings) + len(report.skipped)
    assert all(command.fullmatch(line) for line in lines)
    assert all(plain(line) == line for line in lines)


@hostile
@place
def test_json_holds_what_was_named(text: str, group_by: str) -> None:
    """JSON holds every name exactly as it is, in ASCII."""
    page = json_format.render(document(compared(text, group_by)))
    parsed = json.loads(page)
    assert page.isascii()
    assert parsed["snapshots"][0]["path"] == text
    assert parsed["rows"][0]["task"]["name"] == text
    assert parsed["skipped"][-1] == {"what": text, "why": text}


@hostile
def test_top_is_as_careful(text: str) -> None:
    """A report on one snapshot goes through the same renderers."""
    snapshot = snapshot_of(Blocks(((f"/srv/app/{text}", 5),), 10), path=text)
    report = top_report(api.top(snapshot, sources=[Path(__file__).parent]))
    for page in (
        terminal.render(report, width=80, color=False),
        markdown.render(report),
        csv_format.render(report),
    ):
        assert all(plain(line) == line for line in page.split("\n"))


@pytest.mark.parametrize("text", ["a'; rm -rf ~; '", "$(reboot)", "`reboot`", "a b", "[ab]*?"])
def test_advice_can_be_pasted_into_a_shell(text: str) -> None:
    """The words that the advice gives are quoted, so that a name in it runs nothing, and is found again."""
    import shlex  # noqa: PLC0415 - here only

    advice = diff_report(compared(text)).advice[-1]
    words = shlex.split(advice.partition(" with ")[2])
    assert words[:3] == ["--group-by", "traceback", "--include"]
    assert len(words) == 4
    snapshot = snapshot_of(Blocks(((f"/srv/app/{text}", 5),), 10), Blocks((("/srv/app/x", 5),), 10))
    kept = api.top(snapshot, include=[words[3]], sources=[Path(__file__).parent])
    assert [row.traceback[0].filename for row in kept.rows] == [f"/srv/app/{text}"]
