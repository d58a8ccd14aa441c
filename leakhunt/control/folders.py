"""Where the agent of a process may keep its files, by the variables that the process was started with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from leakhunt.capture.place import own_place
from leakhunt.capture.settings import variable
from leakhunt.control import process as system
from leakhunt.control.process import Process

_DIR = variable("folder")


def folders(process: Process) -> Iterator[str]:
    """Yield where a process's agent may keep its files, as the process sees it, the likeliest first, each once."""
    theirs = (system.environment(process.pid) or {}) if system.HAS_PROC else {}
    seen: set[str] = set()
    for variables in (theirs, {"HOME": system.home_of(process.uid)}, os.environ):
        for folder in (variables.get(_DIR, ""), _default_folder(variables)):
            if not folder.startswith("/") or not folder.isprintable():
                continue
            asked = system.resolved(folder, process.root) if process.root else folder
            # Both: others may write there only since the agent began, or no more.
            for place in (own_place(asked, process.uid, process.root), asked):
                if place not in seen:
                    seen.add(place)
                    yield place


def folder_of(process: Process, variables: Mapping[str, str]) -> str:
    """Return where an agent with these variables keeps its files, as the process sees it; empty if unknown."""
    asked = variables.get(_DIR, "") or _default_folder(variables)
    if not asked.startswith("/"):
        return ""
    return own_place(
        system.resolved(asked, process.root) if process.root else asked, process.uid, process.root
    )


def _default_folder(variables: Mapping[str, str]) -> str:
    """Return where an agent with these variables keeps its files unless it is told, or an empty string if unknown."""
    state = variables.get("XDG_STATE_HOME", "")
    home = variables.get("HOME", "")
    if state.startswith("/"):
        return os.path.join(state, "leakhunt")
    return os.path.join(home, ".local", "state", "leakhunt") if home.startswith("/") else ""
