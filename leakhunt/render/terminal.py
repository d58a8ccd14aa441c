"""A report for a terminal of any width, with or without colour and Unicode."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from leakhunt.model.report import Detail, Kind, Line, Report, Table
from leakhunt.render.text import cell, is_command, plain

_STYLES = {"code": "dim", "task": "cyan", "frame": "dim", "note": "dim", "next": "green", "command": "green"}
_PLACE = "place"
_INDENT = "    "
_ROOM = 30  # a narrower column breaks every name


def render(report: Report, *, width: int, color: bool) -> str:
    """Return a report as lines of at most ``width`` cells, as far as its words allow."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    for part in _parts(report, width):
        console.print(part, crop=False)  # a command is left in one piece
    lines = stream.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    yield Text(plain(report.headline), style="bold")
    yield from (Text(plain(fact), style="dim") for fact in report.facts)
    for table in report.tables:
        if table.lines:
            yield Text()
            yield _prose(table, width) if table.prose else _grid(table, width)
        yield from (Text(plain(note), style="dim") for note in table.notes)
    notes = [("warning: ", warning) for warning in report.warnings]
    notes += [("not all read: ", f"{skipped.what}: {skipped.why}") for skipped in report.skipped]
    if notes:
        yield Text()
    yield from (Text(label, style="yellow").append(plain(text), style="none") for label, text in notes)
    if report.advice:
        yield Text()
    yield from map(_advised, report.advice)


def _advised(line: str) -> RenderableType:
    """Return a piece of advice; one that is a command is left in one piece, to be copied."""
    if is_command(line):
        return Group(Text(plain(line), style=_STYLES["command"], no_wrap=True, overflow="ignore"))
    return Text(plain(line))


def _prose(table: Table, width: int) -> RenderableType:
    """Lay out a table of sentences: each row a paragraph that its numbers begin, with its details indented below."""
    place = next(at for at, column in enumerate(table.columns) if column.key == _PLACE)
    heads = [column.title for column in table.columns]
    rows = [
        [cell(column.kind, value) for column, value in zip(table.columns, line.cells)] for line in table.lines
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows)][:place]
    rooms = [-room if column.kind is Kind.TIME else room for column, room in zip(table.columns, widths)]
    parts = [Text(_paragraph(heads, rooms, width), style="bold dim")]
    for cells, line in zip(rows, table.lines):
        parts.append(Text(_paragraph(cells, rooms, width), style="bold"))
        parts += [_below(detail, width) for detail in line.details]
    return Group(*parts)


def _below(detail: Detail, width: int) -> Text:
    """Return a line below a row; a command is left in one piece, to be copied."""
    text, style = plain(detail.text), _STYLES[detail.role]
    if detail.role == "command":
        return Text(f"{_INDENT}{text}", style=style, no_wrap=True, overflow="ignore")
    return Text(_filled(text, width, _INDENT), style=style)


def _paragraph(cells: Sequence[str], rooms: Sequence[int], width: int) -> str:
    """Put numbers in their columns, to the left where the room is negative, in front of a sentence."""
    numbers = [text.ljust(-room) if room < 0 else text.rjust(room) for text, room in zip(cells, rooms)]
    return _filled("  ".join([*numbers, cells[len(rooms)]]), width, "")


def _filled(text: str, width: int, indent: str) -> str:
    """Break a line at blanks, if need be within words, and indent what follows."""
    room = max(width, len(_INDENT) + _ROOM // 2)
    return textwrap.fill(
        text, room, initial_indent=indent, subsequent_indent=_INDENT, replace_whitespace=False,
        drop_whitespace=True, break_on_hyphens=False, expand_tabs=False,
    )  # fmt: skip


def _grid(table: Table, width: int) -> RenderableType:
    """Lay out a table, or a list where there is no room; the columns behind the place are told below it."""
    place = next(at for at, column in enumerate(table.columns) if column.key == _PLACE)
    numbers = [at for at in range(place) if table.columns[at].kind is not Kind.TEXT]
    heads = [table.columns[at].title for at in numbers]
    rows = [[cell(table.columns[at].kind, line.cells[at]) for at in numbers] for line in table.lines]
    places = [_place(line, place) for line in table.lines]
    if width - sum(max(map(len, column)) + 2 for column in zip(heads, *rows)) < _ROOM:
        return _list(heads, rows, places)
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
    for head in heads:
        grid.add_column(head, justify="right", no_wrap=True)
    grid.add_column(table.columns[place].title, overflow="fold")
    for cells, below in zip(rows, places):
        grid.add_row(*map(Text, cells), below)
    return grid


def _list(heads: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[RenderableType]) -> Group:
    """Put each row's numbers, with their headings, above its place."""
    parts: list[RenderableType] = []
    for cells, below in zip(rows, places):
        parts.append(Text(", ".join(f"{head} {text}" for head, text in zip(heads, cells) if text)))
        parts.append(Padding(below, (0, 0, 0, 2)))
    return Group(*parts)


def _place(line: Line, place: int) -> RenderableType:
    below = Grid.grid()
    below.add_column(overflow="fold")
    site = Text(plain(str(line.cells[place])), style="bold")
    for detail in line.details:
        if detail.role == "frame":
            below.add_row(_detail(detail))
    below.add_row(site)
    for detail in line.details:
        if detail.role != "frame":
            below.add_row(Padding(_detail(detail), (0, 0, 0, 2)))
    return below


def _detail(detail: Detail) -> Text:
    return Text(plain(detail.text), style=_STYLES[detail.role])
