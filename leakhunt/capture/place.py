"""Where a user's files are: the folder that the environment asks for, or one of the user's own in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def default_path(environ: Mapping[str, str]) -> str:
    """Return where this process's user keeps its files: in LEAKHUNT_DIR, else in the XDG state directory."""
    chosen = environ.get("LEAKHUNT_DIR", "").strip()
    if chosen:
        return own_place(os.path.abspath(chosen), os.geteuid())
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # the XDG specification: a relative path is to be ignored
        state = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return own_place(os.path.join(state, "leakhunt"), os.geteuid())


def own_place(path: str, uid: int, root: str = "") -> str:
    """Return where a user keeps files: the folder itself, or below one that others write to, one of the user's own.

    A volume that is made for many, such as an ``emptyDir`` of Kubernetes, belongs to nobody in particular.

    Args:
        path: the folder that is asked for, as the process sees it.
        uid: the user.
        root: the process's root directory as seen from here; empty where both see the same files.
    """
    try:
        about = os.lstat(root + path)
    except (OSError, ValueError):
        return path
    if stat.S_ISDIR(about.st_mode) and about.st_mode & OTHERS_WRITE:
        return os.path.join(path, f"leakhunt-{uid}")
    return path
