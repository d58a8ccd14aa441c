"""Flight records as evidence of deaths: what was running where, and which lost tasks began again in another process."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Evidence
from leakhunt.model.incident import TaskAgain
from leakhunt.model.oom import SourceSummary
from leakhunt.model.record import Begun
from leakhunt.model.snapshot import Skipped
from leakhunt.model.verdict import LiveSource
from leakhunt.readers.oom_inputs import Input, gather
from leakhunt.readers.record_lines import is_record, parse_line, record_lines, utc
from leakhunt.readers.records import read_records, telling

KIND = "flight-record"
_ID = re.compile(rb'"id":"([^"\\]{1,400})"')
_OUTCOMES = {"SUCCESS": "succeeded", "FAILURE": "failed"}
_NAME = re.compile(r"(.{1,200}-[0-9]{1,12}-[0-9]{1,20})\.jsonl")  # the pid, and when the process began
_MOST_SNAPSHOTS = 10_000
_MOST_SOUGHT = 200
_SHOWN = 400


def apart(inputs: Iterable[Input]) -> tuple[tuple[Input, ...], tuple[Input, ...]]:
    """Tell flight records from everything else, which comes second."""
    kinds: tuple[list[Input], list[Input]] = ([], [])
    for source in inputs:
        head = b""
        with suppress(LeakhuntError):  # who reads it will say what is wrong
            head = source.head()
        kinds[not is_record(head)].append(source)
    return tuple(kinds[0]), tuple(kinds[1])


def hear_folder(folder: str) -> Iterator[object]:
    """Read the records of a folder that nobody named, if there is one; yields as :func:`hear_records`, and the folder."""
    if not os.path.isdir(folder):
        return
    try:
        with gather([folder]) as gathered:
            yield from hear_records(apart(gathered.inputs)[0])
        yield LiveSource("flight records", used=True, why=folder)
    except LeakhuntError as error:
        yield LiveSource("flight records", used=False, why=error.message)


def hear_records(inputs: Sequence[Input]) -> Iterator[object]:
    """Read flight records.

    Yields:
        Each process as a ``Life``, what was ``Skipped``, each file's ``SourceSummary``, and a ``TaskAgain`` for each
        sign of a lost task that began again.
    """
    if not inputs:
        return
    records = read_records(inputs)
    listed: dict[str, tuple[str, ...]] = {}
    for life in records.lives:
        life.snapshot = _last_snapshot(life.sources, listed)
    yield from records.lives
    yield from records.skipped
    for file in records.files:
        first = utc(file.first) if file.first else None
        last = utc(file.last) if file.last else None
        yield SourceSummary(file.name, KIND, file.lines, file.size, first, last, 0)
    unended = [begun for life in records.lives for begun in life.running.values()]
    latest_first = sorted(unended, key=lambda begun: -begun.when)
    lost = {begun.id: begun for begun in latest_first}  # the first of each id
    if lost and len(lost) <= _MOST_SOUGHT:
        yield from _begun_again(inputs, lost)


def _last_snapshot(sources: Sequence[str], listed: dict[str, tuple[str, ...]]) -> str | None:
    """Return the last snapshot of the process that a record is of: it is named likewise, in the folder beside.

    Args:
        sources: the record's files.
        listed: what the folders of snapshots hold, as far as they were looked at.
    """
    for source in sources:
        name = _NAME.match(os.path.basename(source))
        if name is None:
            continue
        folder = os.path.normpath(os.path.join(os.path.dirname(source), os.pardir, "snapshots"))
        if folder not in listed:
            listed[folder] = _listed(folder)
        own = [one for one in listed[folder] if one.startswith(f"{name[1]}-") and one.endswith(".bin")]
        if own:
            return os.path.join(folder, max(own))
    return None


def _listed(folder: str) -> tuple[str, ...]:
    with suppress(OSError), os.scandir(folder) as entries:
        return tuple(entry.name for entry in islice(entries, _MOST_SNAPSHOTS))
    return ()


def _begun_again(inputs: Sequence[Input], lost: dict[str, Begun]) -> Iterator[TaskAgain]:
    """Look through the records once more, for what became of tasks that did not end."""
    ids = frozenset(task_id.encode("utf-8", "surrogatepass") for task_id in lost)
    for source in inputs:
        for part in source.parts:
            faults: list[Skipped] = []  # they were told at the first reading
            with telling(part.name, faults):
                stream = part.open()
                try:
                    for number, raw, whole in record_lines(stream):
                        if whole and (found := _again(lost, ids, raw, Evidence(part.name, number, ""))):
                            yield found
                finally:
                    stream.close()


def _again(lost: dict[str, Begun], ids: Collection[bytes], raw: bytes, place: Evidence) -> TaskAgain | None:
    """Return what a line tells of a lost task after it was lost."""
    match = _ID.search(raw)
    line = parse_line(raw) if match is not None and match[1] in ids else None
    begun = None if line is None else lost.get(str(line.get("id")))
    if line is None or begun is None or line["t"] <= begun.when:
        return None
    state = line.get("state")
    outcome = _OUTCOMES.get(state, "received") if isinstance(state, str) else "received"
    text = raw[:_SHOWN].decode("utf-8", "replace")
    return TaskAgain(
        begun.task,
        begun.id,
        outcome,
        utc(begun.when),
        utc(line["t"]),
        place._replace(text=text),
        times=0 if isinstance(state, str) else 1,
        recorded=True,
    )
