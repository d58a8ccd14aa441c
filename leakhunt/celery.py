"""leakhunt in Celery's workers: ``leakhunt.celery.install(app)``, or no code at all where ``LEAKHUNT_*`` is set.

Celery loads this module in each of its commands, through the entry point ``celery.commands``; it does nothing there
unless a variable asks for it. What happens then depends on the pool:

* prefork: an agent in the main process, and one in each child, which traces and records;
* solo: one agent, in the main process;
* threads, gevent, eventlet: likewise, but several tasks run at once, so that memory is no single task's.

Where children are spawned instead of forked, :func:`install` has to be called in a module that they import.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leakhunt.capture.celery_worker import Worker
    from leakhunt.capture.settings import Settings

_PREFIX = "LEAKHUNT_"
_HELP = (
    "Watch the memory of the workers: start them with LEAKHUNT_AGENT=1, or by `leakhunt run -- celery ...`."
)

_worker: Worker | None = None


def install(app: object = None, **settings: object) -> bool:
    """Watch the workers of an application; calling it again changes nothing.

    A snapshot is taken in a forked child, where hooks of the program (``os.register_at_fork``) run as in any other. Those
    that are registered after this call find none of the worker's connections open there; those registered before still
    do, and may use them. So call it first, or use ``leakhunt run`` or ``LEAKHUNT_*`` variables, which come before the
    application's modules.

    Args:
        app: the Celery application; by default the one of the worker that starts.
        settings: as the ``LEAKHUNT_*`` variables are called, in lower case: ``every=500``, ``at_rss="80%"``,
            ``trace=True``. A variable that is set counts more. ``agent`` is true unless said otherwise.

    Returns:
        whether anything is watched; what is wrong with the settings is said on standard error.
    """
    from leakhunt.capture.agent import settings_of  # noqa: PLC0415 - nothing is loaded before it is needed

    given = {_variable(name): _text(value) for name, value in {"agent": True, **settings}.items()}
    found = settings_of({**given, **os.environ})
    if found is None or not found.active:
        return False
    _watch(found, app)
    return True


def attach(settings: Settings) -> str:
    """Watch the worker's process that this is, which runs already; ``leakhunt attach`` calls it there.

    Returns:
        what cannot be had, or an empty text.
    """
    return "; ".join(_watch(settings).find_itself().missing)


def _watch(settings: Settings, app: object = None) -> Worker:
    """Connect to the worker that this process is, or will be; once."""
    from celery import current_app, signals  # noqa: PLC0415 - Celery is loaded by now

    from leakhunt.capture.celery_worker import Worker  # noqa: PLC0415 - see above

    global _worker  # noqa: PLW0603 - a program has one worker
    if _worker is None:
        _worker = Worker(settings, lambda: current_app if app is None else app)
        _worker.connect(signals)
    return _worker


def _variable(name: str) -> str:
    return _PREFIX + ("DIR" if name == "folder" else name.upper())


def _text(value: object) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def __getattr__(name: str) -> object:
    """Return the command that Celery looks for; it looks in every worker, which is where this begins."""
    if name != "command":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if any(variable.startswith(_PREFIX) for variable in os.environ):
        # Whatever is wrong with leakhunt is no reason for a worker not to start.
        try:
            install(agent=False)
        except Exception as error:  # noqa: BLE001 - see above
            if sys.stderr is not None:
                sys.stderr.write(f"leakhunt: nothing is watched: {error!r}\n")
    return _command()


def _command() -> Any:  # noqa: ANN401 - of another kind in Celery 4
    """Return a command of Celery that says how to watch."""
    import celery  # noqa: PLC0415 - Celery is loaded by now

    if celery.VERSION[0] >= 5:
        import click  # noqa: PLC0415 - Celery 5 has it

        return click.Command("leakhunt", callback=lambda: click.echo(_HELP), help=_HELP)
    from celery.bin.base import Command  # noqa: PLC0415 - Celery 4's

    class Leakhunt(Command):  # type: ignore[misc, unused-ignore]
        __doc__ = _HELP

        def run(self, *_: object, **__: object) -> None:
            self.out(_HELP)

    return Leakhunt
