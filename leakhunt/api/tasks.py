"""What flight records tell of task types: tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf

from leakhunt.analysis.incident.choose import Choice
from leakhunt.analysis.tasks import analyse
from leakhunt.capture.place import default_path
from leakhunt.errors import LeakhuntError
from leakhunt.model.record import TasksResult
from leakhunt.readers.alive import read_alive
from leakhunt.readers.oom_inputs import gather
from leakhunt.readers.records import read_records

_HINT = "name a folder of records; a worker writes them with: leakhunt run --record -- celery -A proj worker"


def tasks(
    paths: Sequence[str | os.PathLike[str]] = (),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Callable[[int], object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> TasksResult:
    """Tell what memory each task type keeps and needs, and which tasks were running when their processes ended.

    Args:
        paths: flight records, folders of such, archives, compressed or not; ``-`` is standard input. None at all reads
            this user's own records.
        since: leave out executions that ended before, and processes that were gone by then; aware.
        until: leave out executions that ended later, and tasks and processes that began later; aware.
        progress: called with the bytes of files that were read since the last call.
        environ: the environment that says where this user's records are; by default the process's.

    Raises:
        LeakhuntError: a file that was named cannot be read, or nothing is a flight record.
    """
    names = tuple(os.fspath(path) for path in paths)
    if not names:
        folder = os.path.join(default_path(os.environ if environ is None else environ), "records")
        if not os.path.isdir(folder):
            raise LeakhuntError(f"{folder}: there are no records", _HINT)
        names = (folder,)
    with gather(names, progress) as gathered:
        records = read_records(
            gathered.inputs,
            since.timestamp() if since is not None else 0.0,
            until.timestamp() if until is not None else inf,
        )
    skipped = (*gathered.skipped, *records.skipped)
    if not records.lives:
        what = "; ".join(f"{one.what}: {one.why}" for one in skipped[:3])
        raise LeakhuntError(f"there are no flight records: {what or names[0]}", _HINT)
    found = analyse(records, read_alive(), Choice(since, until))
    return replace(found, paths=names, skipped=skipped)
