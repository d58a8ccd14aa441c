"""Loads leakhunt's agent into a Python program, and then the sitecustomize that this one stands in front of.

``leakhunt run`` puts this folder first on PYTHONPATH. This file is read by whatever Python the program has, the oldest
too; it is no part of the package.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import os
import sys


def _load(package):
    """Load the agent, from where this file is."""
    if sys.version_info < (3, 9):
        _say("Python 3.9 or later is needed: nothing is watched")
        return
    import importlib.util

    class Finder:
        """Finds this leakhunt, also where another version is installed, and nothing that may stand beside it."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "leakhunt":
                return None
            return importlib.util.spec_from_file_location(
                name, os.path.join(package, "__init__.py"), submodule_search_locations=[package]
            )

    sys.meta_path.insert(0, Finder)
    importlib.import_module("leakhunt.capture.boot").boot()


def _say(text):
    """Write a line, in the first Python process of a tree: what it starts may be anything, and often."""
    here = str(os.getpid())
    if os.environ.setdefault("LEAKHUNT_RUN", here) == here and sys.stderr is not None:
        sys.stderr.write("leakhunt: " + text + "\n")


def _chain(here):
    """Load the sitecustomize that would have been loaded without this one; what it raises is its own matter."""
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != here]
    sys.path_importer_cache.pop(here, None)
    ours = sys.modules.pop(__name__, None)
    try:
        __import__(__name__)
    except ImportError as error:
        if getattr(error, "name", __name__) != __name__:
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault(__name__, ours)


_here = os.path.dirname(os.path.realpath(__file__))
if __name__ == "sitecustomize":
    try:
        _load(os.path.dirname(os.path.dirname(_here)))
    except Exception as _error:  # whatever is wrong with leakhunt, the program is to run
        _say("nothing is watched: %r" % (_error,))
    _chain(_here)
