from __future__ import annotations

import pytest
from conftest import line, snapshot_of

from leakhunt.analysis.mapping import map_paths
from leakhunt.analysis.modules import ModuleNames, installed_path, module_parts, shared_root
from leakhunt.model.snapshot import Frame

PACKAGES = "/srv/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (f"{PACKAGES}/celery/app/trace.py", "celery/app/trace.py"),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml/__init__.py"),
        ("/usr/local/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/usr/lib64/python3.9/abc.py", "abc.py"),
        ("/opt/python3.13/lib/python3.13t/abc.py", "abc.py"),
        ("/opt/pypy/lib/pypy3.10/json/decoder.py", "json/decoder.py"),
        ("/usr/lib/python3.11/lib-dynload/_json.so", "_json.so"),
        ("/usr/lib/python311.zip/json/decoder.py", "json/decoder.py"),
        ("/srv/app/shop/tasks.py", None),
        ("/srv/python3.11/app/tasks.py", None),
        ("shop/tasks.py", None),
        ("<string>", None),
        ("", None),
    ],
)
def test_installed_files_are_known_by_their_path(filename: str, expected: str | None) -> None:
    """A file below site-packages, dist-packages or the standard library is named by its path below it."""
    assert installed_path(filename) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("shop/tasks/reports.py", ("shop", "tasks", "reports")),
        ("shop/__init__.py", ("shop",)),
        ("__init__.py", ("__init__",)),
        ("shop/cache.pyc", ("shop", "cache")),
        ("lxml/etree.cpython-311-x86_64-linux-gnu.so", ("lxml", "etree")),
        ("lxml/etree.abi3.so", ("lxml", "etree")),
        ("_json.so", ("_json",)),
        ("/srv/shop/cache.py", ("srv", "shop", "cache")),
        ("./shop/../cache.py", ("shop", "cache")),
    ],
)
def test_a_path_becomes_the_parts_of_a_module(path: str, expected: tuple[str, ...]) -> None:
    """Suffixes, ``__init__`` and the root are no part of a module's name."""
    assert module_parts(path) == expected


@pytest.mark.parametrize(
    ("filenames", "expected"),
    [
        (["/srv/app/shop/tasks.py", "/srv/app/shop/sub/cache.py"], "/srv/app"),
        (["/srv/app/shop/tasks.py", "/srv/app/manage.py"], "/srv/app"),
        (["/srv/releases/41/shop/a.py", "/srv/releases/41/shop/b.py"], "/srv/releases/41"),
        (["/srv/my-app/a.py", "/srv/my-app/b.py"], "/srv/my-app"),
        (["/srv/app/a.py", "/usr/local/lib/python3.11/json/decoder.py", f"{PACKAGES}/x.py"], "/srv/app"),
        (["/srv/app/a.py", "/home/me/b.py"], "/"),
        (["a.py", "<string>", "<frozen abc>"], ""),
        ([f"{PACKAGES}/x.py"], ""),
        ([], ""),
    ],
)
def test_the_shared_root_is_where_the_application_is(filenames: list[str], expected: str) -> None:
    """The folder that own files share is the root; where it looks like a package its parent is."""
    assert shared_root(filenames) == expected


@pytest.mark.parametrize(
    ("filename", "module", "package"),
    [
        ("/srv/app/shop/tasks/reports.py", "shop.tasks.reports", "shop"),
        ("/srv/app/shop/__init__.py", "shop", "shop"),
        ("/srv/app/manage.py", "manage", "manage"),
        (f"{PACKAGES}/celery/app/trace.py", "celery.app.trace", "celery"),
        ("/usr/local/lib/python3.11/json/decoder.py", "json.decoder", "json"),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap", "importlib"),
        ("<string>", "<string>", "<string>"),
        ("<unknown>", "<unknown>", "<unknown>"),
        ("relative.py", "relative", "relative"),
    ],
)
def test_files_have_module_names(filename: str, module: str, package: str) -> None:
    """A file's module is its path from where it is installed or from the shared root; the package is its first part."""
    names = ModuleNames(["/srv/app/shop/tasks.py", "/srv/app/manage.py", filename])
    assert (names.module(filename), names.package(filename)) == (module, package)


def test_a_root_names_modules_before_the_shared_one() -> None:
    """A folder that modules are imported from comes before the guess, the deepest first."""
    names = ModuleNames(["/srv/app/src/shop/a.py"], ["/srv", "/srv/app/src/shop"])
    assert names.module("/srv/app/src/shop/a.py") == "a"
    assert (
        ModuleNames(["/srv/app/src/shop/a.py", "/srv/app/b.py"]).module("/srv/app/src/shop/a.py") == "shop.a"
    )


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([("/srv/releases/41", "/srv/app")], "/srv/app/shop/cache.py"),
        ([("/srv/releases/41/", "/srv/app/")], "/srv/app/shop/cache.py"),
        ([("/srv/releases/4", "/srv/app")], "/srv/releases/41/shop/cache.py"),
        ([("/srv", "/x"), ("/srv/releases/41", "/srv/app")], "/srv/app/shop/cache.py"),
        ([("/srv/releases/41", "/srv/app"), ("/srv/app", "/y")], "/srv/app/shop/cache.py"),
        ([("/srv/releases/41/shop/cache.py", "/z.py")], "/z.py"),
        ([("/", "/mnt")], "/mnt/srv/releases/41/shop/cache.py"),
        ([("/srv/releases/41", "/")], "/shop/cache.py"),
        ([("/elsewhere", "/srv/app")], "/srv/releases/41/shop/cache.py"),
        ([], "/srv/releases/41/shop/cache.py"),
    ],
)
def test_prefixes_are_mapped_by_whole_folders(maps: list[tuple[str, str]], expected: str) -> None:
    """The longest prefix that ends where a folder's name ends is replaced, once."""
    snapshot = map_paths(snapshot_of(line("/srv/releases/41/shop/cache.py", 14, 3)), maps)
    assert snapshot.frames == (Frame(expected, 14),)
    assert snapshot.size == 3
