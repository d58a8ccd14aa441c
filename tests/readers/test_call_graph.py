from __future__ import annotations

import ast
import textwrap
from typing import TYPE_CHECKING

import pytest

from leakhunt.model.task import TaskRef
from leakhunt.readers import source_files, source_project
from leakhunt.readers.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path

TASKS = """
from celery import shared_task
from shop import helpers
from shop.helpers import load

@shared_task
def one():
    {one}

@shared_task
def two():
    {two}
"""


def reaching(root: Path, files: dict[str, str], target: str = "def leaf(") -> TaskRef | None:
    """Write files and return the task that alone reaches the one function whose ``def`` is given."""
    found: list[tuple[str, int]] = []
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = textwrap.dedent(text).lstrip("\n")
        path.write_text(content, encoding="utf-8")
        found += [(name, at) for at, line in enumerate(content.splitlines(), 1) if target in line]
    ((name, lineno),) = found
    return SourceTree([root], list(files)).task_reaching(name, lineno)


def reaching_name(root: Path, files: dict[str, str], target: str = "def leaf(") -> str | None:
    """Return the name of that task."""
    task = reaching(root, files, target)
    return task.name if task else None


TASK = "@app.task\ndef one():\n    {}\n@app.task\ndef two():\n    {}\n"
LEAF = "def leaf(x=None):\n    return x\n"

ONE_FILE = {
    "called": (LEAF + TASK.format("leaf()", "..."), "m.one"),
    "only mentioned": (LEAF + TASK.format("map(leaf, [])", "..."), "m.one"),
    "called before its def": (TASK.format("leaf()", "...") + LEAF, "m.one"),
    "called through others": (
        LEAF + "def b(): leaf()\ndef a(): b()\n" + TASK.format("a()", "..."),
        "m.one",
    ),
    "called in a lambda": (LEAF + TASK.format("return lambda: [leaf(x) for x in y]", "..."), "m.one"),
    "called in a nested def": (LEAF + TASK.format("def g():\n        leaf()", "..."), "m.one"),
    "called by two ways": (
        LEAF + "def a(): leaf()\ndef b(): leaf(); a()\n" + TASK.format("a(); b()", "..."),
        "m.one",
    ),
    "shared by two tasks": (LEAF + TASK.format("leaf()", "leaf()"), None),
    "shared through others": (LEAF + "def a(): leaf()\n" + TASK.format("a()", "leaf()"), None),
    "called by nothing": (LEAF + TASK.format("...", "..."), None),
    "called by a function called by nothing": (
        LEAF + "def view(): leaf()\n" + TASK.format("leaf()", "..."),
        None,
    ),
    "called at import": (LEAF + "leaf()\n" + TASK.format("leaf()", "..."), None),
    "mentioned at import": (LEAF + "TABLE = {'x': leaf}\n" + TASK.format("leaf()", "..."), None),
    "mentioned in a default": (LEAF + "def a(x=leaf): ...\n" + TASK.format("leaf()", "..."), None),
    "a decorator": (LEAF + TASK.format("leaf()", "...") + "@leaf\ndef a(): ...\n", None),
    "mentioned in a class body": (LEAF + "class A:\n    x = leaf\n" + TASK.format("leaf()", "..."), None),
    "a task calls another": (
        LEAF
        + "@app.task\ndef one(): two.delay()\n@app.task\ndef two(): leaf()\n@app.task\ndef three(): two()\n",
        "m.two",
    ),
    "a task in a function": (
        LEAF + "def setup(app):\n    @app.task\n    def one(): leaf()\nsetup(app)\n",
        "m.one",
    ),
    "recursive": ("def leaf(): leaf()\n" + TASK.format("leaf()", "..."), "m.one"),
    "recursive, called by nothing": ("def leaf(): leaf()\n" + TASK.format("...", "..."), None),
    "a ring that a task enters": (
        "def leaf(): other()\ndef other(): leaf()\n" + TASK.format("other()", "..."),
        "m.one",
    ),
    "a ring that nothing enters": (
        LEAF + "def a(): b(); leaf()\ndef b(): a()\n" + TASK.format("leaf()", "..."),
        None,
    ),
    "a ring alone": ("def leaf(): b()\ndef b(): leaf()\n" + TASK.format("...", "..."), None),
    "handed to a framework": ("@app.route('/')\n" + LEAF + TASK.format("leaf()", "..."), None),
    "cached": ("@functools.lru_cache(maxsize=None)\n" + LEAF + TASK.format("leaf()", "..."), "m.one"),
    "a nested function": (
        "def make():\n    def leaf(): ...\n    return leaf\n" + TASK.format("make()", "..."),
        "m.one",
    ),
    "a nested function made at import": (
        "def make():\n    def leaf(): ...\n    return leaf\nh = make()\n" + TASK.format("h()", "..."),
        None,
    ),
    "a decorator's wrapper": (
        "def deco(f):\n    @wraps(f)\n    def leaf(): f()\n    return leaf\n@deco\ndef a(): ...\n"
        + TASK.format("a()", "..."),
        None,
    ),
    "reached by getattr": (LEAF + TASK.format("leaf()", "getattr(x, 'leaf')()"), None),
    "a class task": (LEAF + "class Send(app.Task):\n    def run(self): leaf()\n", "m.Send"),
    "a name in a string": (LEAF + "HOOK = 'm.leaf'\n" + TASK.format("leaf()", "..."), None),
    "the same word as text": (LEAF + "HOOK = 'leaf'  # leaf\n" + TASK.format("leaf()", "..."), "m.one"),
    "another value under the name": (LEAF + TASK.format("leaf()", "leaf = 1"), "m.one"),
    "an attribute of anything": (LEAF + TASK.format("leaf()", "x.leaf"), None),
    "an attribute of another module": (
        "import json\n" + LEAF + TASK.format("leaf()", "json.leaf()"),
        "m.one",
    ),
    "an attribute of a rebound import": (
        "import json\n" + LEAF + TASK.format("leaf()", "json = x; json.leaf()"),
        None,
    ),
    "an attribute of an imported object": (
        "from flask import g\n" + LEAF + TASK.format("leaf()", "g.leaf()"),
        None,
    ),
    "a task itself": ("@app.task\ndef leaf(): ...\n", "m.leaf"),
}


@pytest.mark.parametrize(("text", "name"), ONE_FILE.values(), ids=ONE_FILE)
def test_a_function_belongs_to_the_only_task_that_reaches_it(
    tmp_path: Path, text: str, name: str | None
) -> None:
    """Every path upwards from the function must end in one task; otherwise there is no answer."""
    ast.parse(text)
    assert reaching_name(tmp_path, {"m.py": text}) == name


METHODS = {
    "by self": (
        "class A:\n    def leaf(self): ...\n    def go(self): self.leaf()\n" + TASK.format("A().go()", "..."),
        "m.one",
    ),
    "by cls": (
        "class A:\n    @classmethod\n    def leaf(cls): ...\n    @classmethod\n    def go(cls): cls.leaf()\n"
        + TASK.format("A.go()", "..."),
        "m.one",
    ),
    "by self, and a namesake of another class by its own self": (
        "class A:\n    def leaf(self): ...\n    def go(self): self.leaf()\n"
        "class B:\n    def  leaf(self): ...\n    def walk(self): self.leaf()\n"
        + TASK.format("A().go()", "B().walk()"),
        "m.one",
    ),
    "by the self of a class without it": (
        "class A:\n    def leaf(self): ...\nclass B:\n    def walk(self): self.leaf()\n"
        + TASK.format("A.leaf()", "B().walk()"),
        None,
    ),
    "by an object": ("class A:\n    def leaf(self): ...\n" + TASK.format("x.leaf()", "..."), "m.one"),
    "by two objects": ("class A:\n    def leaf(self): ...\n" + TASK.format("x.leaf()", "y.z.leaf()"), None),
    "by the class": ("class A:\n    def leaf(self): ...\n" + TASK.format("A.leaf()", "B.leaf()"), None),
    "by its class only": (
        "class A:\n    def leaf(self): ...\nclass B:\n    def x(self): ...\n"
        + TASK.format("A.leaf()", "B.x()"),
        "m.one",
    ),
    "a bare namesake": (
        "class A:\n    def leaf(self): ...\ndef  leaf(): ...\n" + TASK.format("A.leaf()", "leaf()"),
        "m.one",
    ),
    "by the base class": (
        "class Base:\n    def go(self): self.leaf()\nclass A(Base):\n    def leaf(self): ...\n"
        + TASK.format("x.go()", "y.leaf()"),
        None,
    ),
    "by the base class alone": (
        "class Base:\n    def go(self): self.leaf()\nclass A(Base):\n    def leaf(self): ...\n"
        + TASK.format("x.go()", "..."),
        "m.one",
    ),
    "by super": (
        "class Base:\n    def leaf(self): ...\nclass A(Base):\n    def go(self): super().leaf()\n"
        + TASK.format("x.go()", "..."),
        "m.one",
    ),
    "by the super of another family": (
        "class A:\n    def leaf(self): ...\nclass Base:\n    def  leaf(self): ...\nclass B(Base):\n"
        "    def walk(self): super().leaf()\n" + TASK.format("A.leaf()", "B().walk()"),
        "m.one",
    ),
    "a constructor": (
        "class A:\n    def __init__(self): # def leaf(\n        ...\n" + TASK.format("A()", "..."),
        "m.one",
    ),
    "a constructor shared": (
        "class A:\n    def __init__(self): # def leaf(\n        ...\n" + TASK.format("A()", "return A"),
        None,
    ),
    "a constructor used at import": (
        "class A:\n    def __init__(self): # def leaf(\n        ...\na = A()\n" + TASK.format("A()", "..."),
        None,
    ),
    "a constructor called by a class method": (
        "class A:\n    def __init__(self): # def leaf(\n        ...\n    @classmethod\n    def make(cls): return cls()\n"
        + TASK.format("A()", "x.make()"),
        None,
    ),
    "a method of an object made at import": (
        "class A:\n    def leaf(self): ...\na = A()\n" + TASK.format("a.leaf()", "..."),
        "m.one",
    ),
    "a property": (
        "class A:\n    @property\n    def leaf(self): ...\n" + TASK.format("return x.leaf", "..."),
        "m.one",
    ),
    "helper of a task class": (
        "class Send(app.Task):\n    def run(self): self.leaf()\n    def leaf(self): ...\n",
        "m.Send",
    ),
}


@pytest.mark.parametrize(("text", "name"), METHODS.values(), ids=METHODS)
def test_a_method_is_called_by_all_who_may_mean_it(tmp_path: Path, text: str, name: str | None) -> None:
    """``self.m`` means the class and its relatives, ``x.m`` every ``m``, and a class its special methods."""
    ast.parse(text)
    assert reaching_name(tmp_path, {"m.py": text}) == name


HELPERS = {"shop/__init__.py": "", "shop/helpers.py": LEAF}
CELERY = "from celery import shared_task\n@shared_task\ndef one():\n    {}\n"

MODULES = {
    "from-import": ({"shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()")}, "shop.t.one"),
    "renamed": ({"shop/t.py": "from shop.helpers import leaf as l\n" + CELERY.format("l()")}, "shop.t.one"),
    "relative": ({"shop/t.py": "from .helpers import leaf\n" + CELERY.format("leaf()")}, "shop.t.one"),
    "relative module": (
        {"shop/t.py": "from . import helpers\n" + CELERY.format("helpers.leaf()")},
        "shop.t.one",
    ),
    "relative to above": (
        {"shop/a/__init__.py": "", "shop/a/t.py": "from ..helpers import leaf\n" + CELERY.format("leaf()")},
        "shop.a.t.one",
    ),
    "module": ({"shop/t.py": "import shop.helpers\n" + CELERY.format("shop.helpers.leaf()")}, "shop.t.one"),
    "module renamed": ({"shop/t.py": "import shop.helpers as h\n" + CELERY.format("h.leaf()")}, "shop.t.one"),
    "imported in the task": (
        {"shop/t.py": CELERY.format("from shop.helpers import leaf\n    leaf()")},
        "shop.t.one",
    ),
    "found from another root": (
        {"shop/t.py": "from project.shop.helpers import leaf\n" + CELERY.format("leaf()")},
        "shop.t.one",
    ),
    "star": ({"shop/t.py": "from shop.helpers import *\n" + CELERY.format("leaf()")}, "shop.t.one"),
    "star of anything": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/v.py": "from unknown import *\ndef view(): leaf()\n",
        },
        None,
    ),
    "through the package": (
        {
            "shop/__init__.py": "from .helpers import leaf\n",
            "shop/t.py": "from shop import leaf\n" + CELERY.format("leaf()"),
        },
        "shop.t.one",
    ),
    "through the package and else": (
        {
            "shop/__init__.py": "from .helpers import leaf\n",
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/v.py": "from shop import leaf\ndef view(): leaf()\n",
        },
        None,
    ),
    "a task elsewhere": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/u.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
        },
        None,
    ),
    "a namesake of another module": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/u.py": "from shop.other import leaf\n" + CELERY.format("leaf()"),
            "shop/other.py": "def  leaf(): ...\n",
        },
        "shop.t.one",
    ),
    "a namesake of a library": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/u.py": "from botany import leaf\n" + CELERY.format("leaf()"),
        },
        "shop.t.one",
    ),
    "a namesake of its own": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/u.py": "def  leaf(): ...\n" + CELERY.format("leaf()"),
        },
        "shop.t.one",
    ),
    "a library module of the same name": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/u.py": "import leaf\ndef view(): leaf.grow()\n",
        },
        "shop.t.one",
    ),
    "mentioned by a broken file": (
        {
            "shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"),
            "shop/v.py": "print leaf\n",
        },
        None,
    ),
    "a broken file that does not mention it": (
        {"shop/t.py": "from shop.helpers import leaf\n" + CELERY.format("leaf()"), "shop/v.py": "print 1\n"},
        "shop.t.one",
    ),
    "registered by a list": (
        {
            "shop/t.py": "from .helpers import leaf\nasync def one(ctx): leaf()\nclass WorkerSettings:\n    functions = [one]\n"
        },
        "one",
    ),
    "an override in a third file": (
        {
            "shop/helpers.py": "from .base import Base\nclass A(Base):\n    def leaf(self): ...\n",
            "shop/base.py": "class Base:\n    def go(self): self.leaf()\n",
            "shop/t.py": CELERY.format("x.leaf()"),
        },
        None,
    ),
}


@pytest.mark.parametrize(("files", "name"), MODULES.values(), ids=MODULES)
def test_callers_are_found_across_files(tmp_path: Path, files: dict[str, str], name: str | None) -> None:
    """Imports are undone, in all their forms; what cannot be undone counts as a caller."""
    assert reaching_name(tmp_path, {**HELPERS, **files}) == name


def test_the_task_is_shown_as_the_evidence_names_its_file(tmp_path: Path) -> None:
    """The task's file is the frame's name for it when a frame lies in it, else the local path."""
    files = {**HELPERS, "shop/t.py": "from .helpers import leaf\n" + CELERY.format("leaf()")}
    assert reaching(tmp_path, files) == TaskRef("shop.t.one", "shop/t.py", 3, 5)
    frame = "/elsewhere/shop/helpers.py"
    assert SourceTree([tmp_path], [frame]).task_reaching(frame, 2) == TaskRef(
        "shop.t.one", str(tmp_path / "shop/t.py"), 3, 5
    )


@pytest.mark.parametrize(
    "name", ["tests/test_shop.py", "test_shop.py", "shop_test.py", "conftest.py", "tests/helper.py"]
)
def test_tests_call_nothing_unless_a_frame_lies_in_them(tmp_path: Path, name: str) -> None:
    """A test suite calls every helper, but it did not run where the snapshot was taken."""
    (tmp_path / "tests").mkdir()
    (tmp_path / name).write_text("from m import leaf\ndef test_leaf(): leaf()\n", encoding="utf-8")
    (tmp_path / "m.py").write_text(LEAF + TASK.format("leaf()", "..."), encoding="utf-8")
    frames = [["m.py"], ["m.py", name]]
    found = [SourceTree([tmp_path], filenames).task_reaching("m.py", 1) for filenames in frames]
    assert [task and task.name for task in found] == ["m.one", None]


def test_a_function_outside_the_roots_has_unknown_callers(tmp_path: Path) -> None:
    """Callers of a function that no root holds cannot be known."""
    (tmp_path / "root").mkdir()
    path = tmp_path / "m.py"
    path.write_text(LEAF + TASK.format("leaf()", "..."), encoding="utf-8")
    assert SourceTree([tmp_path / "root"], [str(path)]).task_reaching(str(path), 1) is None
    assert SourceTree([tmp_path], [str(path)]).task_reaching(str(path), 1) is not None


def test_a_line_outside_functions_is_reached_by_no_task(tmp_path: Path) -> None:
    """Code at the top of a file runs at import."""
    (tmp_path / "m.py").write_text("x = 1\n", encoding="utf-8")
    assert SourceTree([tmp_path], ["m.py"]).task_reaching("m.py", 1) is None


def test_a_listing_that_is_cut_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files unlisted, no task can be the only one."""
    files = {"m.py": LEAF + TASK.format("leaf()", "..."), "n.py": ""}
    assert reaching_name(tmp_path, files) == "m.one"
    monkeypatch.setattr(source_files, "MAX_FILES", 1)
    assert reaching_name(tmp_path, files) is None


def test_a_name_in_too_many_files_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that very many files hold is not followed, and that is reported."""
    monkeypatch.setattr(source_project, "MAX_MENTIONING", 2)
    files = {"m.py": LEAF + TASK.format("leaf()", "..."), "a.py": "# leaf\n", "b.py": "# leaf\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    tree = SourceTree([tmp_path], ["m.py"])
    assert tree.task_reaching("m.py", 1) is None
    assert [entry.what for entry in tree.skipped] == ["callers of common names"]


@pytest.mark.parametrize(("length", "name"), [(400, "m.one"), (600, None)])
def test_a_long_chain_of_callers_is_followed(tmp_path: Path, length: int, name: str | None) -> None:
    """Depth is no obstacle until the limit, beyond which there is no answer."""
    steps = "".join(f"def f{number}(): f{number - 1}()\n" for number in range(1, length))
    text = f"def f0(): ...\n{steps}" + TASK.format(f"f{length - 1}()", "...")
    assert reaching_name(tmp_path, {"m.py": text}, "def f0(") == name
