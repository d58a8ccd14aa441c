"""A report in GitHub's Markdown, fit for a comment on a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from leakhunt.model.report import Kind, Report, Table
from leakhunt.render.text import cell, is_command, plain

_SPECIAL = re.compile(r"([\\`*_\[\]|~@#]|:(?=//)|(?<=\bwww)\.)")
_MENTION = re.compile("&#(?:64|35);")


def render(report: Report) -> str:
    """Return a report as Markdown."""
    return "\n".join(_lines(report)).rstrip("\n") + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"**{_escape(report.headline)}**"
    yield ""
    for table in report.tables:
        if table.lines:
            yield from _table(table)
            yield ""
        for note in table.notes:
            yield _escape(note)
            yield ""
    for fact in report.facts:
        yield f"<sub>{_escape(fact)}</sub>"
        yield ""
    for warning in report.warnings:
        yield f"> **Warning:** {_escape(warning)}"
        yield ""
    for skipped in report.skipped:
        yield f"> **Not read:** {_escape(skipped.what)}: {_escape(skipped.why)}"
        yield ""
    for line in report.advice:
        yield _code(line) if is_command(line) else _escape(line)
        yield ""


def _table(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(column.title for column in table.columns) + " |"
    yield "|" + "|".join(" --- " if column.kind is Kind.TEXT else " ---: " for column in table.columns) + "|"
    place = next(at for at, column in enumerate(table.columns) if column.key == "place")
    for line in table.lines:
        cells = [_escape(cell(column.kind, value)) for column, value in zip(table.columns, line.cells)]
        if table.prose:
            below = [
                _code(one.text) if one.role in {"code", "command"} else _escape(one.text)
                for one in line.details
            ]
            cells[place] = "<br>".join([f"**{cells[place]}**", *below])
            yield "| " + " | ".join(cells) + " |"
            continue
        frames = [_code(detail.text) for detail in line.details if detail.role == "frame"]
        code = [_code(detail.text) for detail in line.details if detail.role == "code"]
        cells[place] = "<br>".join([*frames, _code(cell(Kind.TEXT, line.cells[place])), *code])
        yield "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    """Make text show as itself: no markup, no link, and no mention, which GitHub finds after entities are read."""
    return _MENTION.sub(r"\g<0>&#8203;", _entities(text))


def _code(text: str) -> str:
    return f"<code>{_entities(text)}</code>"


def _entities(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"&#{ord(match[1])};", html.escape(plain(text), quote=False))
