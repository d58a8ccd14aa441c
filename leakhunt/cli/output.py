"""The one place where results leave the program."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from leakhunt.errors import LeakhuntError
from leakhunt.model.report import Report
from leakhunt.render.text import plain

_UNBOUNDED = 100_000
_PIECES_AT_ONCE = 200
_STDOUT = (None, "-", "/dev/stdout")


@dataclass(frozen=True)
class Destination:
    """Where a result goes and how it looks, as the options say.

    Attributes:
        output_format: ``table``, ``json``, ``markdown``, ``csv`` or ``github``.
        output_file: a file's name; None, ``-`` and ``/dev/stdout`` are standard output.
        color: ``auto``, ``always`` or ``never``.
    """

    output_format: str
    output_file: str | None
    color: str

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self.output_file in _STDOUT

    def deliver(self, report: Report, document: Callable[[], Mapping[str, Any]]) -> None:
        """Render a result and write it.

        Args:
            report: the result for people.
            document: makes the result for programs; called only when that is wanted.

        Raises:
            LeakhuntError: the file cannot be written.
        """
        if self.output_format == "json":
            self.deliver_document(document())
            return
        self._write((self._render(report),))
        if self.output_format == "csv":  # rows only, so what limits them is told beside
            for note in (*report.warnings, *(f"{skipped.what}: {skipped.why}" for skipped in report.skipped)):
                click.echo(f"warning: {plain(note)}", err=True)

    def deliver_document(self, document: Mapping[str, Any]) -> None:
        """Write a document as JSON, without holding its whole text.

        Raises:
            LeakhuntError: the file cannot be written.
        """
        from leakhunt.render import json  # noqa: PLC0415 - not for --version

        self._write(json.pieces(document))

    def deliver_lines(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write documents as JSON, each on a line of its own.

        Raises:
            LeakhuntError: the file cannot be written.
        """
        from leakhunt.render import json  # noqa: PLC0415 - not for --version

        self._write(map(json.line, documents))

    def _render(self, report: Report) -> str:
        from leakhunt.render import csv, github, markdown  # noqa: PLC0415 - not for --version

        if self.output_format == "table":
            from leakhunt.render import terminal  # noqa: PLC0415 - rich is slow to import

            return terminal.render(report, width=self._width(), color=self._wants_color())
        return {"csv": csv.render, "markdown": markdown.render, "github": github.render}[self.output_format](
            report
        )

    def _to_terminal(self) -> bool:
        return self.to_stdout and sys.stdout.isatty()

    def _width(self) -> int:
        """Return the terminal's width; what goes to a file or a pipe is not broken, unless COLUMNS says so."""
        if os.environ.get("COLUMNS", "").isdecimal():
            return max(20, int(os.environ["COLUMNS"]))
        return shutil.get_terminal_size().columns if self._to_terminal() else _UNBOUNDED

    def _wants_color(self) -> bool:
        if self.color != "auto":
            return self.color == "always"
        return self._to_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def _write(self, pieces: Iterable[str]) -> None:
        some = _together(pieces)
        if self.output_file is None or self.to_stdout:
            for text in some:
                _print(text)
            return
        try:
            _write_whole(self.output_file, (text.encode("utf-8", "backslashreplace") for text in some))
        except OSError as error:
            raise LeakhuntError(
                f"{self.output_file}: cannot be written: {error.strerror}", "nothing was written"
            ) from error


def _together(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text in pieces that are worth writing."""
    pieces = iter(pieces)
    while some := "".join(itertools.islice(pieces, _PIECES_AT_ONCE)):
        yield some


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    data = memoryview(text.encode(encoding, "backslashreplace"))
    try:
        sys.stdout.flush()
        while data:  # an unbuffered stream takes as much as the disk has room for, and says how much
            data = data[sys.stdout.buffer.write(data) :]
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left; the exit code still says what was found
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_whole(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file beside its place and move it there, so that it is whole or not there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):  # a device or a pipe cannot be replaced
            with open(path, "wb") as file:
                file.writelines(pieces)
            return
    path = os.path.realpath(path)  # a link stays a link
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".leakhunt-")
    try:
        with open(handle, "wb") as file:
            file.writelines(pieces)
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
