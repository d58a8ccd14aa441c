"""The rows of a report as CSV with raw values: sizes in bytes, shares as fractions."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Any

from leakhunt.model.report import Report
from leakhunt.moments import iso
from leakhunt.render.text import plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(report: Report) -> str:
    """Return the rows of a report's tables as CSV with a header; text that a spreadsheet would run is quoted."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for table in report.tables:
        writer.writerow([column.key for column in table.columns])
        writer.writerows([_value(value) for value in line.cells] for line in table.lines)
    return stream.getvalue()


def _value(value: Any) -> Any:  # noqa: ANN401 - raw values of any kind
    if isinstance(value, datetime):
        return iso(value)
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
