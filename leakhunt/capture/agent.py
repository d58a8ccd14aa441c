"""The agent of this process: there is one, and forks carry it on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from leakhunt.capture import aside, taker
from leakhunt.capture.resident import Agent
from leakhunt.capture.settings import Settings
from leakhunt.capture.taker import Tasks, forks
from leakhunt.capture.undisturbed import say
from leakhunt.capture.who import Who
from leakhunt.errors import LeakhuntError

_agent: Agent | None = None
_carried = False
_modest = False


def agent() -> Agent | None:
    """Return the agent that was started in this process or in one that it was forked from."""
    return _agent


def start(
    settings: Settings,
    who: Who | None = None,
    *,
    head: Callable[[], Mapping[str, object]] = dict,
    tasks: Callable[[], Tasks] = dict,
    quiet: bool = False,
    modest: bool = False,
) -> Agent:
    """Start the agent of this process, or tell the one that runs what the process has turned out to be.

    Args:
        settings: what it is asked to do; those of the one that runs remain.
        who: what the process is.
        head: gives what else the recorder's first line is to hold.
        tasks: gives the registry of tasks.
        quiet: say nothing of what cannot be had.
        modest: let other settings take the place of these once it is known what the process is.
    """
    global _agent, _carried, _modest  # noqa: PLW0603 - a process has one agent
    if _agent is None:
        _agent = Agent(settings, quiet=quiet)
        _modest = modest
    elif _modest and not modest:
        _agent.settings = settings._replace(signal=_agent.settings.signal)
        _modest = False
    if not _carried:
        os.register_at_fork(before=_before_fork, after_in_parent=_go_on, after_in_child=_after_fork)
        _carried = True
    _agent.start(who or Who(), head, tasks)
    return _agent


def settings_of(environ: Mapping[str, str]) -> Settings | None:
    """Read the settings; where they are not understood, say so and return None."""
    try:
        return Settings.from_environment(environ)
    except LeakhuntError as error:
        say(f"{error.message}, so that nothing is watched" + (f": {error.hint}" if error.hint else ""))
        return None


def attach(environ: Mapping[str, str]) -> str | None:
    """Start the agent in a process that runs already; called in its main thread.

    Args:
        environ: ``LEAKHUNT_*`` variables, in place of the process's own.

    Returns:
        what cannot be had, or None; nothing is raised.
    """
    missing: list[str] = []

    def begin() -> None:
        settings = Settings.from_environment({"LEAKHUNT_AGENT": "1", **environ})
        running = agent()
        if running is not None and running.here:
            if settings.trace:
                running.trace(settings.frames)
        elif "celery.signals" in sys.modules:
            # By its name: this package stands below the one that knows Celery.
            missing.append(import_module("leakhunt.celery").attach(settings))
        else:
            missing.extend(start(settings, quiet=True).missing)

    try:
        begin()
    except LeakhuntError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - whatever it is, the program is not to hear of it
        return f"the agent could not be started: {error!r}"
    return "; ".join(filter(None, missing)) or None


def _before_fork() -> None:
    if _agent is not None and not forks():
        _agent.before_fork()


def _go_on() -> None:
    if _agent is not None and not forks():
        _agent.go_on()


def _after_fork() -> None:
    if _agent is not None and not forks():
        aside.after_fork()
        taker.after_fork()
        _agent.after_fork()
