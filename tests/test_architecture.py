from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, subprocess_environment

PACKAGE = ROOT / "leakhunt"
MODULES = sorted(PACKAGE.rglob("*.py"))

ALL = frozenset({"*"})
# Who may import whom, by the first name below leakhunt; its own package may always.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "version": frozenset(),
    "units": frozenset({"errors"}),
    "moments": frozenset({"errors", "units"}),
    "model": frozenset({"errors"}),
    "readers": frozenset({"errors", "units", "model"}),
    "analysis": frozenset({"errors", "units", "moments", "model"}),
    "rules": frozenset({"errors", "units", "model"}),
    "capture": frozenset({"errors", "units", "version"}),
    "celery": frozenset({"capture", "errors", "units", "version"}),
    "control": frozenset({"errors", "units", "model", "capture"}),
    "api": frozenset({"errors", "units", "moments", "model", "readers", "analysis", "rules", "capture"}),
    "present": frozenset({"errors", "units", "moments", "model", "analysis", "version"}),
    "render": frozenset({"errors", "units", "moments", "model"}),
    "cli": ALL - {"__main__"},
    "__init__": frozenset({"version", "errors", "model", "api"}),
    "__main__": frozenset({"cli"}),
}
# Packages from elsewhere, and the only places that may import them.
GUARDED = {
    "click": ("cli/", "celery.py"),
    "rich": ("render/terminal.py",),
    "psutil": ("readers/process.py",),
    "celery": ("celery.py",),
    "pytest": ("pytest_plugin.py",),
}
OPTIONAL = {"zstandard": ("readers/streams.py",), "compression": ("readers/streams.py",)}

MAX_LINES = 300
LONGER = {
    "readers/pickle_machine.py": "one machine with its table of opcodes",
}

FORBIDDEN = frozenset(
    {"pickle", "cPickle", "_pickle", "marshal", "shelve", "socket", "urllib", "http", "runpy"}
)
EXCUSED = {
    "readers/runs.py": frozenset({"pickle"}),  # feeds it a stream of its own making
    "capture/snapshots/traces.py": frozenset({"pickle"}),  # writes, and never reads
}


def name_of(path: Path) -> str:
    """Return a module's path below the package."""
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "leakhunt")


def part(name: str) -> str:
    """Return the part of the package that a path or a dotted name below leakhunt is in."""
    return name.replace("/", ".").split(".")[0]


def own(path: Path) -> set[str]:
    """Return the parts of leakhunt that a module imports, its own left out."""
    below = {name.partition(".")[2] for name in imports(path) if name.split(".")[0] == "leakhunt"}
    return {part(name) for name in below if name} - {part(name_of(path)), "__version__"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """A module imports only what stands below it: nouns, then readers and analyses, then the API, then the skins."""
    here = part(name_of(path))
    assert here in MAY_IMPORT, f"{here} has no place in the house yet: give it one in MAY_IMPORT"
    allowed = MAY_IMPORT[here]
    assert allowed == ALL or own(path) <= allowed


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of its library's modules")
@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_guest_is_let_in_at_one_door(path: Path) -> None:
    """A package from elsewhere is imported only where the house has its door; all the rest is standard library."""
    name = name_of(path)
    for root in {imported.split(".")[0] for imported in imports(path)} - {"leakhunt"}:
        doors = {**GUARDED, **OPTIONAL}.get(root)
        if doors is None:
            assert root in sys.stdlib_module_names, f"{name} imports {root}"
        else:
            assert name.startswith(doors), f"{name} imports {root}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_can_run_what_a_file_says(path: Path) -> None:
    """No module imports what would build a stranger's objects, or reaches the network."""
    excused = EXCUSED.get(name_of(path), frozenset())
    assert {imported.split(".")[0] for imported in imports(path)}.isdisjoint(FORBIDDEN - excused)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_small(path: Path) -> None:
    """No module is longer than 300 lines, unless a reason is given here."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES or name_of(path) in LONGER


def test_only_modules_that_exist_are_excused() -> None:
    """Every excuse for a long module is for a module that is there."""
    assert set(LONGER) <= set(map(name_of, MODULES))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """Each module begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running code."""
    shown = f"{code}\nimport sys\nprint('\\n'.join(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", shown],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        env=subprocess_environment(),
    )
    return set(done.stderr.split())


def test_the_package_costs_nothing_to_import() -> None:
    """``import leakhunt`` loads its version, and nothing else of its own or from elsewhere."""
    loaded = loaded_by("import leakhunt")
    assert {name for name in loaded if name.startswith("leakhunt")} == {"leakhunt", "leakhunt.version"}
    assert loaded.isdisjoint({"click", "rich", "tracemalloc", "dataclasses"} - loaded_by("pass"))


def test_the_version_answers_in_a_blink() -> None:
    """``leakhunt --version`` loads click, and neither rich nor anything that reads, analyses or prints."""
    loaded = loaded_by("from leakhunt.cli import run; run(['--version'])")
    heavy = {
        "rich",
        "leakhunt.api",
        "leakhunt.readers",
        "leakhunt.analysis",
        "leakhunt.render",
        "leakhunt.model",
    }
    assert "click" in loaded
    assert loaded.isdisjoint(heavy)


def test_json_needs_no_console() -> None:
    """A result as JSON is made without loading rich."""
    code = "from leakhunt.cli import run; run(['top', 'fixtures/snapshots/pythons/cp314.bin', '-f', 'json'])"
    assert "rich" not in loaded_by(code)
