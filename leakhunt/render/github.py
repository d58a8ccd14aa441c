"""A report's annotations as workflow commands of GitHub Actions.

Source of the escapes: the ``escapeData`` and ``escapeProperty`` functions of GitHub's actions toolkit.
"""

from __future__ import annotations

from leakhunt.model.report import Report
from leakhunt.render.text import plain

_DATA = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_PROPERTY = (*_DATA, (":", "%3A"), (",", "%2C"))


def render(report: Report) -> str:
    """Return one ``::warning`` or ``::error`` a line, and the headline as a ``::notice``."""
    lines = [f"::notice title=leakhunt::{_escape(report.headline, _DATA)}"]
    for note in report.annotations:
        line = f",line={note.lineno}" if note.lineno else ""
        place = f"file={_escape(note.filename, _PROPERTY)}{line},title={_escape(note.title, _PROPERTY)}"
        lines.append(f"::{note.level} {place}::{_escape(note.message, _DATA)}")
    lines += [f"::warning title=leakhunt::{_escape(warning, _DATA)}" for warning in report.warnings]
    lines += [
        f"::warning title=leakhunt could not read all::{_escape(f'{skipped.what}: {skipped.why}', _DATA)}"
        for skipped in report.skipped
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    text = plain(text)
    for character, escape in escapes:
        text = text.replace(character, escape)
    return text
