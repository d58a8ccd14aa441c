"""The agent's way into a program that knows nothing of it: called while Python starts, before the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_WORKER = "celery.apps.worker"  # loaded by the main process of a worker, before anything of it happens
_PREFIX = "LEAKHUNT_"
_RUN = "LEAKHUNT_RUN"


def boot() -> None:
    """Start what the ``LEAKHUNT_*`` variables ask for.

    In a Celery worker that is left to Celery's signals, so that its imports are not traced. In any other program the
    agent starts at once: when its imports are done cannot be known, and tracing them makes the start slower.

    The first Python process of a tree does all that is asked for. What it starts in turn may be anything, and very
    short: there the agent says nothing and does nothing unasked. A Celery worker counts as a first one wherever it is.
    """
    if not any(name.startswith(_PREFIX) for name in os.environ):
        return
    here = str(os.getpid())
    works = is_worker(_words())
    if works:
        os.environ[_RUN] = here
    first = os.environ.setdefault(_RUN, here) == here
    # Now, as hooks of the program that are registered before ours run before it.
    import_module("leakhunt.capture.snapshots.forking").register()
    sys.meta_path.insert(0, _Finder())
    if works:
        return
    # Only now: most of the library is needed for it.
    agents = import_module("leakhunt.capture.agent")
    settings = agents.settings_of(os.environ)
    if settings is not None and settings.active:
        agents.start(settings if first else settings.only_asked(), modest=not first)


def is_worker(words: Sequence[str]) -> bool:
    """Tell whether a command line starts a Celery worker: ``celery … worker …`` or ``python -m celery … worker …``."""
    for place, word in enumerate(words):
        if os.path.basename(word) == "celery" and "worker" in words[place:]:
            return True
    return False


def _words() -> Sequence[str]:
    """Return this program's command line."""
    words: Sequence[str] = getattr(sys, "orig_argv", ())
    if not words:  # before Python 3.10
        try:
            with open("/proc/self/cmdline", "rb") as file:
                words = os.fsdecode(file.read(1 << 16)).split("\0")
        except OSError:
            words = getattr(sys, "argv", ())
    return words


class _Finder(MetaPathFinder):
    """Lets Celery's worker be found as ever, and has the receivers connected once it is loaded."""

    def __init__(self) -> None:
        self._asks = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with our loader in front of its own."""
        if fullname != _WORKER or self._asks:
            return None
        self._asks = True
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
                if spec is not None:
                    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader)
                    return spec
            return None
        finally:
            self._asks = False


class _Loader(Loader):
    """Loads a module by its own loader, which it shows as soon as there is a module to show it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module as its own loader does; then begin."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        try:
            import_module("leakhunt.celery").install(agent=False)
        except Exception as error:  # noqa: BLE001 - no reason for a worker not to start
            if sys.stderr is not None:
                sys.stderr.write(f"leakhunt: nothing is watched: {error!r}\n")
