from __future__ import annotations

import ast
import os
import textwrap
from pathlib import Path
from typing import Callable, Optional

import pytest

from leakhunt.model.snapshot import Skipped
from leakhunt.readers import source_files
from leakhunt.readers.source import SourceTree

Writer = Callable[..., None]
TaskAt = Optional[tuple[str, int, int]]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Return a function that writes files, given as path and text, under the test's directory."""

    def write_files(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")

    return write_files


def task_at(root: Path, filename: str, lineno: int) -> TaskAt:
    """Return name, first and last line of the task at a frame."""
    task = SourceTree([root], [filename]).task_at(filename, lineno)
    return (task.name, task.lineno, task.last_lineno) if task else None


# Where a frame's file is


def test_a_file_that_exists_is_itself(tmp_path: Path, write: Writer) -> None:
    """An absolute path to a file at hand is that file, under no root and in a library too."""
    write({"elsewhere/lib/python3.11/site-packages/lib.py": "x = 1\n"})
    path = tmp_path / "elsewhere/lib/python3.11/site-packages/lib.py"
    assert SourceTree([tmp_path / "root"], [str(path)]).locate(str(path)) == path


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("/elsewhere/app/shop/tasks.py", "shop/tasks.py"),
        ("shop/tasks.py", "shop/tasks.py"),
        ("./shop/tasks.py", "shop/tasks.py"),
        ("app/shop/tasks.py", "shop/tasks.py"),
        ("C:\\elsewhere\\app\\shop\\tasks.py", "shop/tasks.py"),
        ("/elsewhere/app/shop/api/tasks.py", "shop/api/tasks.py"),
        ("/elsewhere/app/tasks.py", "tasks.py"),
        ("/elsewhere/app/eshop/tasks.py", "tasks.py"),
        ("/elsewhere/app/shop/views.py", None),
        ("/elsewhere/app/shop/__init__.py", "shop/__init__.py"),
        ("/elsewhere/app/other/__init__.py", None),
        ("/elsewhere/app/shop/tasks.pyx", None),
        ("<string>", None),
        ("<frozen importlib._bootstrap>", None),
        ("", None),
        ("/nul/\0/tasks.txt.py", None),
    ],
)
def test_the_longest_source_path_that_ends_the_frames_wins(
    tmp_path: Path, write: Writer, frame: str, expected: str | None
) -> None:
    """A frame of another machine is the source file whose whole path under a root ends the frame's path."""
    write(
        dict.fromkeys(
            ["tasks.py", "__init__.py", "shop/__init__.py", "shop/tasks.py", "shop/api/tasks.py"], ""
        )
    )
    found = SourceTree([tmp_path], [frame]).locate(frame)
    assert found == (tmp_path / expected if expected else None)


@pytest.mark.parametrize(
    "frame",
    [
        "/venv/lib/python3.11/site-packages/shop/tasks.py",
        "/usr/lib/python3/dist-packages/shop/tasks.py",
        "/usr/lib/python3.12/shop/tasks.py",
        "/usr/lib64/python3.9/shop/tasks.py",
        "lib/python3.12/shop/tasks.py",
        "C:\\Python311\\Lib\\shop\\tasks.py",
    ],
)
def test_library_frames_are_never_the_projects(tmp_path: Path, write: Writer, frame: str) -> None:
    """A frame in an installed library or the standard library is not matched by its ending."""
    write({"shop/tasks.py": ""})
    assert SourceTree([tmp_path], [frame]).locate(frame) is None


def test_two_frames_for_one_bare_file_name_are_ambiguous(tmp_path: Path, write: Writer) -> None:
    """A file name without a directory matches no frame when two files of the snapshots end in it."""
    write({"tasks.py": ""})
    frames = ["/elsewhere/app/tasks.py", "/elsewhere/app/billing/tasks.py"]
    assert [SourceTree([tmp_path], frames).locate(frame) for frame in frames] == [None, None]


def test_a_file_at_hand_is_not_also_a_strangers(tmp_path: Path, write: Writer) -> None:
    """A bare file name that one frame truly is stands for no other frame; a frame not announced included."""
    write({"tasks.py": ""})
    own = str(tmp_path / "tasks.py")
    tree = SourceTree([tmp_path], [own])
    assert (tree.locate(own), tree.locate("/elsewhere/billing/tasks.py")) == (Path(own), None)


def test_one_path_under_two_roots_is_ambiguous(tmp_path: Path, write: Writer) -> None:
    """Two sources that match a frame equally well are both refused."""
    write({"one/shop/tasks.py": "", "two/shop/tasks.py": ""})
    frame = "/elsewhere/shop/tasks.py"
    assert SourceTree([tmp_path / "one", tmp_path / "two"], [frame]).locate(frame) is None


def test_a_root_inside_a_root_is_not_ambiguous(tmp_path: Path, write: Writer) -> None:
    """A file seen from two roots, or from one root given twice, is one file."""
    write({"src/shop/tasks.py": ""})
    roots = [tmp_path, tmp_path / "src", tmp_path / "src"]
    frames = ["/elsewhere/shop/tasks.py", "/elsewhere/src/shop/tasks.py"]
    tree = SourceTree(roots, frames)
    assert [tree.locate(frame) for frame in frames] == [tmp_path / "src/shop/tasks.py"] * 2


# Lines and functions


@pytest.mark.parametrize(
    ("lineno", "expected"), [(1, "a = 1"), (2, "b = '\x0c'"), (3, "c"), (-1, None), (0, None), (9, None)]
)
def test_a_line_is_stripped_and_counted_as_python_counts(
    tmp_path: Path, lineno: int, expected: str | None
) -> None:
    """Lines end where Python ends them, and a line out of range is None."""
    (tmp_path / "m.py").write_bytes(b"a = 1\r\n  b = '\x0c'\rc\n")
    frame = str(tmp_path / "m.py")
    assert SourceTree([], [frame]).line(frame, lineno) == expected


def test_a_line_is_read_in_the_encoding_it_declares(tmp_path: Path) -> None:
    """The coding cookie counts; bytes it cannot decode are replaced, and an unknown encoding is UTF-8."""
    texts = {
        "latin.py": b"# coding: latin-1\ns = '\xe9'\n",
        "broken.py": b"#\ns = '\xe9'\n",
        "unknown.py": b"# coding: nonsense\ns = '\xc3\xa9'\n",
        "not_text.py": b"# coding: rot13\ns = '\xc3\xa9'\n",
        "bom.py": b"\xef\xbb\xbf#\ns = '\xc3\xa9'\n",
    }
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
    tree = SourceTree([tmp_path], texts)
    lines = {name: tree.line(name, 2) for name in texts}
    assert lines.pop("broken.py") == "s = '\ufffd'"
    assert set(lines.values()) == {"s = 'é'"}


FUNCTIONS = """
import os
class Cart:
    @property
    def total(self):
        return sum(
            map(lambda item: item.price, self.items)
        )
    class Line:
        async def load(self):
            def parse(text):
                return text
            return parse("")
def plain(): return 1
"""


@pytest.mark.parametrize(
    ("lineno", "expected"),
    [
        (1, None),
        (2, None),
        (3, ("Cart.total", 3, 7)),
        (6, ("Cart.total", 3, 7)),
        (8, None),
        (11, ("Cart.Line.load.<locals>.parse", 10, 11)),
        (12, ("Cart.Line.load", 9, 12)),
        (13, ("plain", 13, 13)),
        (99, None),
    ],
)
def test_function_at_is_the_innermost_def(
    tmp_path: Path, write: Writer, lineno: int, expected: tuple[str, int, int] | None
) -> None:
    """A line belongs to the innermost def around it, decorators included and lambdas not counted."""
    write({"shop/__init__.py": "", "shop/cart.py": FUNCTIONS})
    function = SourceTree([tmp_path], []).function_at("shop/cart.py", lineno)
    assert (function and (function.qualname, function.lineno, function.last_lineno)) == expected
    assert function is None or function.module == "shop.cart"


# Task declarations

DECLARED = {
    "celery app": ("@app.task\ndef f():\n    return 1\n", "m.f"),
    "celery app from elsewhere": ("from .celery_app import app\n@app.task\ndef f(): ...\n", "m.f"),
    "celery app with options": ("@app.task(bind=True, max_retries=3)\ndef f(self): ...\n", "m.f"),
    "celery named": ("@app.task(name='shop.send', bind=True)\ndef f(self): ...\n", "shop.send"),
    "celery name not constant": ("@app.task(name=prefix + 'x')\ndef f(): ...\n", "m.f"),
    "celery module": ("@celery.task\ndef f(): ...\n", "m.f"),
    "celery attribute": ("@self.queues['x'].app.task\ndef f(): ...\n", "m.f"),
    "celery app made here": ("@make_app().task(name='x')\ndef f(): ...\n", "x"),
    "shared_task": ("from celery import shared_task\n@shared_task\ndef f(): ...\n", "m.f"),
    "shared_task with options": (
        "from celery import shared_task\n@shared_task(name='x')\ndef f(): ...\n",
        "x",
    ),
    "shared_task renamed": ("from celery import shared_task as st\n@st()\ndef f(): ...\n", "m.f"),
    "celery.shared_task": ("import celery\n@celery.shared_task\ndef f(): ...\n", "m.f"),
    "celery module renamed": ("import celery as c\n@c.shared_task\ndef f(): ...\n", "m.f"),
    "one import of several": (
        "if x:\n    from celery import shared_task as t\nelse:\n    from stub import t\n@t\ndef f(): ...\n",
        "m.f",
    ),
    "async": ("@app.task\nasync def f(): ...\n", "m.f"),
    "between other decorators": ("@a\n@app.task\n@b(1)\ndef f(): ...\n", "m.f"),
    "in a function": ("def setup(app):\n    @app.task\n    def f(): ...\n", "m.f"),
    "called with the function": ("def f(): ...\napp.task(f)\n", "m.f"),
    "called twice": ("def f(): ...\napp.task(name='x', bind=True)(f)\n", "x"),
    "called and kept": ("def f(): ...\nregister = app.task(f)\n", "m.f"),
    "called with name": ("def f(): ...\nregister = app.task(f, name='x')\n", "x"),
    "shared_task called": ("from celery import shared_task\ndef f(): ...\ng = shared_task(f)\n", "m.f"),
    "class": ("from celery import Task\nclass Send(Task):\n    def run(self): ...\n", "m.Send"),
    "class of module": ("import celery\nclass Send(celery.Task):\n    def run(self): ...\n", "m.Send"),
    "class of app": ("class Send(app.Task):\n    name = 'x'\n    def run(self): ...\n", "x"),
    "class, name annotated": (
        "from celery.app.task import Task as T\nclass S(T):\n    name: str = 'x'\n    def run(self): ...\n",
        "x",
    ),
    "class over a class": (
        "from celery import Task\nclass Base(Task):\n    abstract = True\nclass Send(Base):\n    def run(self): ...\n",
        "m.Send",
    ),
    "rq": ("from rq.decorators import job\n@job('high', connection=c)\ndef f(): ...\n", "m.f"),
    "rq module": ("import rq\n@rq.job('high')\ndef f(): ...\n", "m.f"),
    "django_rq": ("from django_rq import job\n@job\ndef f(): ...\n", "m.f"),
    "django_rq module": ("import django_rq\n@django_rq.job\ndef f(): ...\n", "m.f"),
    "rq enqueue": ("def f(): ...\nqueue.enqueue(f, 1)\n", "m.f"),
    "rq enqueue by path": ("def f(): ...\nqueue.enqueue('m.f', 1)\n", "m.f"),
    "rq enqueue_call": ("def f(): ...\nqueue.enqueue_call(func=f)\n", "m.f"),
    "rq enqueue_in": ("def f(): ...\nqueue.enqueue_in(timedelta(1), f, name='arg')\n", "m.f"),
    "rq enqueue_at": ("def f(): ...\nget_queue('x').enqueue_at(when, f)\n", "m.f"),
    "django_rq enqueue": ("from django_rq import enqueue\ndef f(): ...\nenqueue(f)\n", "m.f"),
    "dramatiq": ("import dramatiq\n@dramatiq.actor\ndef f(): ...\n", "f"),
    "dramatiq named": ("import dramatiq\n@dramatiq.actor(actor_name='x')\ndef f(): ...\n", "x"),
    "dramatiq name of another kind": ("import dramatiq\n@dramatiq.actor(name='x')\ndef f(): ...\n", "f"),
    "dramatiq imported": ("from dramatiq import actor\n@actor\ndef f(): ...\n", "f"),
    "dramatiq called": ("import dramatiq\ndef f(): ...\ng = dramatiq.actor(f)\n", "f"),
    "huey": ("@huey.task()\ndef f(): ...\n", "m.f"),
    "huey periodic": ("@huey.periodic_task(crontab(minute='0'))\ndef f(): ...\n", "m.f"),
    "djhuey": ("from huey.contrib.djhuey import task\n@task()\ndef f(): ...\n", "m.f"),
    "djhuey periodic": (
        "from huey.contrib.djhuey import periodic_task\n@periodic_task(x)\ndef f(): ...\n",
        "m.f",
    ),
    "djhuey db": ("from huey.contrib.djhuey import db_task\n@db_task()\ndef f(): ...\n", "m.f"),
    "djhuey db periodic": (
        "from huey.contrib import djhuey as huey\n@huey.db_periodic_task(x)\ndef f(): ...\n",
        "m.f",
    ),
    "djhuey on commit": (
        "from huey.contrib.djhuey import on_commit_task\n@on_commit_task()\ndef f(): ...\n",
        "m.f",
    ),
    "arq": ("async def f(ctx): ...\nclass WorkerSettings:\n    functions = [f]\n", "f"),
    "arq method": (
        "class Jobs:\n    async def f(ctx): ...\nclass WorkerSettings:\n    functions = [Jobs.f]\n",
        "Jobs.f",
    ),
    "arq path": ("async def f(ctx): ...\nclass WorkerSettings:\n    functions = ['m.f']\n", "m.f"),
    "arq func": (
        "from arq import func\nasync def f(ctx): ...\nclass Settings:\n    functions = [func(f, name='x')]\n",
        "x",
    ),
    "arq cron": (
        "async def f(ctx): ...\nclass MyWorkerSettings:\n    cron_jobs: list = [cron(f, hour=1)]\n",
        "cron:f",
    ),
    "arq cron by keyword": (
        "async def f(ctx): ...\nclass WorkerSettings:\n    cron_jobs = (cron(coroutine=f),)\n",
        "cron:f",
    ),
    "arq cron by path": (
        "async def f(ctx): ...\nclass WorkerSettings:\n    cron_jobs = [cron('m.f')]\n",
        "cron:m.f",
    ),
    "arq cron named": (
        "async def f(ctx): ...\nclass WorkerSettings:\n    cron_jobs = [cron(f, name='x')]\n",
        "x",
    ),
    "taskiq": ("@broker.task\nasync def f(): ...\n", "m:f"),
    "taskiq with a result": ("@shop.redis_broker.task(retry=True)\nasync def f(): ...\n", "m:f"),
    "taskiq by import": (
        "from taskiq_redis import ListQueueBroker\nq = ListQueueBroker()\n@q.task\nasync def f(): ...\n",
        "m:f",
    ),
    "taskiq shared": ("import taskiq\n@taskiq.async_shared_broker.task\nasync def f(): ...\n", "m:f"),
    "taskiq called": ("async def f(): ...\ntask = broker.task(f)\n", "m:f"),
    "taskiq named": ("@broker.task(task_name='x')\nasync def f(): ...\n", "x"),
    "apscheduler": ("@sched.scheduled_job('interval', minutes=3)\ndef f(): ...\n", "m.f"),
    "apscheduler id": ("@sched.scheduled_job('cron', id='x')\ndef f(): ...\n", "x"),
    "apscheduler add_job": ("def f(): ...\nscheduler.add_job(f, 'interval')\n", "m.f"),
    "apscheduler add_job id": ("def f(): ...\nscheduler.add_job(func=f, id='x')\n", "x"),
    "django tasks": ("from django.tasks import task\n@task\ndef f(): ...\n", "m.f"),
}


@pytest.mark.parametrize(("text", "name"), DECLARED.values(), ids=DECLARED)
def test_a_declared_task_is_found(tmp_path: Path, write: Writer, text: str, name: str) -> None:
    """Each queue's way to declare a task is recognised from syntax, with the name the queue gives it."""
    write({"m.py": text})
    lineno = 1 + next(
        at for at, line in enumerate(text.splitlines()) if "def f(" in line or "def run(" in line
    )
    found = task_at(tmp_path, "m.py", lineno)
    assert found is not None
    assert found[0] == name


NOT_DECLARED = {
    "undecorated": "def f(): ...\n",
    "pytest mark": "import pytest\n@pytest.mark.task\ndef f(): ...\n",
    "pytest mark imported": "from pytest import mark\n@mark.task\ndef f(): ...\n",
    "invoke": "from invoke import task\n@task\ndef f(c): ...\n",
    "invoke module": "import invoke\n@invoke.task(pre=[])\ndef f(c): ...\n",
    "invoke unimported": "@invoke.task\ndef f(c): ...\n",
    "invoke renamed": "import invoke as inv\n@inv.task\ndef f(c): ...\n",
    "fabric": "from fabric import task\n@task\ndef f(c): ...\n",
    "prefect": "from prefect import task\n@task(name='x')\ndef f(): ...\n",
    "airflow": "from airflow.decorators import task\n@task\ndef f(): ...\n",
    "airflow attribute": "from airflow.decorators import task\n@task.task\ndef f(): ...\n",
    "bare task of the project": "from .helpers import task\n@task\ndef f(): ...\n",
    "bare task from nowhere": "@task\ndef f(): ...\n",
    "bare job": "from scheduler import job\n@job\ndef f(): ...\n",
    "job of anything": "@board.job\ndef f(): ...\n",
    "actor of anything": "@film.actor\ndef f(): ...\n",
    "other decorator": "@app.route('/')\ndef f(): ...\n",
    "signal": "@app.on_after_configure.connect\ndef f(): ...\n",
    "class of a model": "from .models import Task\nclass A(Task):\n    def run(self): ...\n    def f(): ...\n",
    "class of a model in an app": "from webapp import Task\nclass A(Task):\n    def f(): ...\n    def run(self): ...\n",
    "class of luigi": "import luigi\nclass A(luigi.Task):\n    def run(self): ...\n    def f(): ...\n",
    "other method of a task class": "from celery import Task\nclass A(Task):\n    def run(self): ...\n    def f(): ...\n",
    "circular classes": "class A(B):\n    def run(self): ...\n    def f(): ...\nclass B(A): ...\n",
    "functions of no worker": "def f(): ...\nclass Registry:\n    functions = [f]\n",
    "method enqueued by name": "class A:\n    def f(): ...\nqueue.enqueue(f)\n",
    "enqueued value": "def f(): ...\nqueue.enqueue(f())\n",
    "enqueued name of another file": "from other import f\ndef f(): ...\nqueue.enqueue(f)\n",
    "bare enqueue": "def f(): ...\nenqueue(f)\n",
    "wrong position": "def f(): ...\nqueue.enqueue_in(f)\n",
}


@pytest.mark.parametrize("text", NOT_DECLARED.values(), ids=NOT_DECLARED)
def test_other_functions_are_no_tasks(tmp_path: Path, write: Writer, text: str) -> None:
    """Words that other tools use, and names that a queue was not given, make no task."""
    ast.parse(text)
    write({"m.py": text})
    lineno = 1 + next(at for at, line in enumerate(text.splitlines()) if "def f(" in line)
    assert task_at(tmp_path, "m.py", lineno) is None


BODY = """
import os

@app.task(
    bind=True,
)
def f(self):
    def nested():
        return [x for x in (lambda: range(3))()]
    return nested()

after = 1
"""


@pytest.mark.parametrize("lineno", range(1, 12))
def test_a_task_reaches_from_its_decorator_to_its_last_line(
    tmp_path: Path, write: Writer, lineno: int
) -> None:
    """Nested functions, comprehensions and decorators belong to the task; the lines around it do not."""
    write({"m.py": BODY})
    assert task_at(tmp_path, "m.py", lineno) == (("m.f", 3, 9) if 3 <= lineno <= 9 else None)


def test_a_task_in_a_task_is_itself(tmp_path: Path, write: Writer) -> None:
    """A line in a task declared inside another belongs to the inner one."""
    write({"m.py": "@app.task\ndef outer():\n    @app.task\n    def inner():\n        return 1\n"})
    assert [task_at(tmp_path, "m.py", lineno) for lineno in (2, 5)] == [("m.outer", 1, 5), ("m.inner", 3, 5)]


def test_the_task_keeps_the_frames_file_name(tmp_path: Path, write: Writer) -> None:
    """The task names the file as the evidence does, not as it is at hand."""
    write({"shop/tasks.py": "@app.task\ndef f(): ...\n"})
    frame = "/elsewhere/app/shop/tasks.py"
    task = SourceTree([tmp_path], [frame]).task_at(frame, 2)
    assert task is not None
    assert task.filename == frame


@pytest.mark.parametrize(
    ("root", "frame", "name"),
    [
        (".", "shop/api/tasks.py", "shop.api.tasks.f"),
        ("shop", "/elsewhere/shop/tasks.py", "shop.tasks.f"),
        (".", "shop/__init__.py", "shop.f"),
        (".", "plain/tasks.py", "plain.tasks.f"),
        ("plain", "/elsewhere/plain/tasks.py", "tasks.f"),
        (".", "__main__.py", "__main__.f"),
        ("other", "{}/plain/tasks.py", "tasks.f"),
    ],
)
def test_a_task_is_named_for_the_package_of_its_file(
    tmp_path: Path, write: Writer, root: str, frame: str, name: str
) -> None:
    """The module is the path from the outermost package, else from the root, else the file's own name."""
    packages = ["shop/__init__.py", "shop/tasks.py", "shop/api/__init__.py", "shop/api/tasks.py"]
    write(
        dict.fromkeys([*packages, "plain/tasks.py", "__main__.py", "other/x.py"], "@app.task\ndef f(): ...\n")
    )
    found = task_at(tmp_path / root, frame.format(tmp_path), 2)
    assert found is not None
    assert found[0] == name


REGISTERED_ELSEWHERE = {
    "arq": (
        "from arq import cron\nfrom shop.jobs import f\nclass WorkerSettings:\n    functions = [f]\n",
        "f",
    ),
    "arq in the package": ("from .jobs import f as g\nclass WorkerSettings:\n    functions = [g]\n", "f"),
    "arq by module": ("from . import jobs\nclass WorkerSettings:\n    functions = [jobs.f]\n", "f"),
    "arq by path": ("class WorkerSettings:\n    functions = ['shop.jobs.f']\n", "shop.jobs.f"),
    "through the package": ("from shop import f\nqueue.enqueue(f)\n", "shop.jobs.f"),
    "rq": ("import shop.jobs\ndef view(): queue.enqueue(shop.jobs.f)\n", "shop.jobs.f"),
    "rq renamed": ("import shop.jobs as j\ndef view(): queue.enqueue(j.f)\n", "shop.jobs.f"),
    "rq from above": ("import project.shop.jobs as j\ndef view(): queue.enqueue(j.f)\n", "shop.jobs.f"),
    "apscheduler": ("from shop.jobs import f\nscheduler.add_job(f)\n", "shop.jobs.f"),
    "apscheduler by path": ("scheduler.add_job('shop.jobs:f')\n", "shop.jobs.f"),
    "celery": ("from shop.jobs import f\ntask = app.task(f)\n", "shop.jobs.f"),
}


@pytest.mark.parametrize(("text", "name"), REGISTERED_ELSEWHERE.values(), ids=REGISTERED_ELSEWHERE)
def test_a_function_can_be_made_a_task_by_another_file(
    tmp_path: Path, write: Writer, text: str, name: str
) -> None:
    """A registration in another file of the tree is followed through its imports."""
    write({"shop/__init__.py": "", "shop/jobs.py": "def f(ctx):\n    return 1\n", "shop/worker.py": text})
    assert task_at(tmp_path, "shop/jobs.py", 2) == (name, 1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "from other.jobs import f\nqueue.enqueue(f)\n",
        "def f(): ...\nqueue.enqueue(f)\n",
        "queue.enqueue(x.f)\n",
    ],
)
def test_a_namesake_registered_elsewhere_is_another_function(
    tmp_path: Path, write: Writer, text: str
) -> None:
    """A registration counts only for the function that its file imports."""
    write({"shop/__init__.py": "", "shop/jobs.py": "def f(ctx):\n    return 1\n", "shop/worker.py": text})
    assert task_at(tmp_path, "shop/jobs.py", 2) is None


# Economy and bounds


def test_a_library_file_without_a_queues_words_is_not_parsed(tmp_path: Path, write: Writer) -> None:
    """Outside the roots only a file that speaks of tasks, jobs or actors is parsed for tasks."""
    write({"root/m.py": "", "lib/broken.py": "def (\n", "lib/tasks.py": "@app.task\ndef f(): ...\n"})
    frames = [str(tmp_path / "lib" / name) for name in ("broken.py", "tasks.py", "absent.py")]
    tree = SourceTree([tmp_path / "root"], frames)
    tasks = [tree.task_at(frame, 2) for frame in frames]
    assert [task and task.name for task in tasks] == [None, "tasks.f", None]
    assert tree.skipped == ()


def test_only_files_that_matter_are_parsed(tmp_path: Path, write: Writer) -> None:
    """A broken file that no frame and no name leads to is never parsed, so it is not even reported."""
    write({"m.py": "@app.task\ndef f(): ...\ndef g(): ...\n", "broken.py": "def (\n"})
    tree = SourceTree([tmp_path], ["m.py"])
    assert tree.task_at("m.py", 2) is not None
    assert tree.task_at("m.py", 3) is None
    assert tree.skipped == ()


@pytest.mark.parametrize(
    "name",
    [".hidden/m.py", "__pycache__/m.py", "node_modules/a/m.py", "x/site-packages/m.py", "env/lib/m.py"],
)
def test_directories_of_others_are_not_listed(tmp_path: Path, write: Writer, name: str) -> None:
    """Hidden directories, caches, packages and virtual environments are no source, unless given as a root."""
    write({name: "x = 1\n", "env/pyvenv.cfg": ""})
    frame = f"/elsewhere/{name}".replace("site-packages", "packages")
    assert SourceTree([tmp_path], [frame]).locate("/elsewhere/m.py") is None
    root = (tmp_path / name).parent
    assert SourceTree([root], ["/elsewhere/m.py"]).locate("/elsewhere/m.py") == root / "m.py"


def test_a_listing_that_is_cut_says_so(
    tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files beyond the limit are not listed, and the limit is reported once."""
    monkeypatch.setattr(source_files, "MAX_FILES", 2)
    write({"a.py": "", "b.py": "", "c.py": "", "sub/d.py": ""})
    tree = SourceTree([tmp_path, tmp_path / "sub"], [])
    assert [bool(tree.locate(name)) for name in ("a.py", "b.py", "c.py", "d.py")] == [
        True,
        True,
        False,
        False,
    ]
    assert tree.skipped == (Skipped(str(tmp_path), "only the first 2 Python files were listed"),)


def test_a_huge_directory_is_cut(tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree with too many entries of any kind is listed in part, and that is reported."""
    monkeypatch.setattr(source_files, "MAX_ENTRIES", 3)
    write(dict.fromkeys([f"{number}.txt" for number in range(9)], ""))
    tree = SourceTree([tmp_path], [])
    assert tree.locate("m.py") is None
    assert tree.skipped == (Skipped(str(tmp_path), "only the first 3 directory entries were listed"),)


def test_a_file_too_large_is_skipped(tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the limit has no lines, functions or tasks, and is reported once."""
    monkeypatch.setattr(source_files, "MAX_FILE_BYTES", 20)
    write({"m.py": "@app.task\ndef f():\n    return 1\n"})
    tree = SourceTree([tmp_path], ["m.py"])
    assert (tree.line("m.py", 2), tree.function_at("m.py", 2), tree.task_at("m.py", 2)) == (None, None, None)
    assert tree.skipped == (Skipped(str(tmp_path / "m.py"), os.strerror(27)),)


def test_a_missing_root_is_reported(tmp_path: Path) -> None:
    """Roots that cannot be listed are skipped with the reason."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    tree = SourceTree([tmp_path / "absent", tmp_path / "loop", tmp_path / "file", Path("nul\0")], ["m.py"])
    assert tree.locate("m.py") is None
    whys = [entry.why for entry in tree.skipped]
    assert whys[:1] == ["No such file or directory"]
    assert whys[1].startswith("Too many levels of symbolic links")
    assert whys[2] == "Not a directory"
    assert "null" in whys[3]


# Hostile files

HOSTILE = {
    "null bytes": b"@app.task\ndef f():\0 pass\n",
    "parentheses": b"(" * 100_000,
    "unary operators": b"-" * 100_000 + b"1",
    "sums": b"x = 1" + b"+1" * 100_000,
    "attributes": b"x = a" + b".b" * 100_000,
    "nested calls": b"x = a" + b"()" * 50_000,
    "lambdas": b"lambda:" * 50_000 + b"1",
    "else ifs": b"if 1: pass\n" + b"elif 1: pass\n" * 20_000,
    "not UTF-8": b"\xff\xfe\xfa def",
    "Python 2": b"print 'x'\n",
    "invalid escape": b"x = '\\d'\n1 is 1\n",
    "unknown encoding": b"# coding: nonsense\nx = 1\n",
    "empty": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_yields_no_task_and_no_error(tmp_path: Path, content: bytes) -> None:
    """Source that no Python can parse is no error: it has no task, and if it mattered it is in skipped."""
    (tmp_path / "m.py").write_bytes(content + b"\n# task\n")
    tree = SourceTree([tmp_path], ["m.py"])
    assert (tree.task_at("m.py", 1), tree.task_reaching("m.py", 1)) == (None, None)
    assert {entry.what for entry in tree.skipped} <= {str(tmp_path / "m.py")}


def test_a_syntax_error_is_reported_once_it_matters(tmp_path: Path, write: Writer) -> None:
    """A frame in a file that cannot be parsed leaves one note with the parser's reason."""
    write({"m.py": "# task\ndef (\n"})
    tree = SourceTree([tmp_path], ["m.py"])
    assert tree.locate("m.py")
    before = tree.skipped
    assert [tree.function_at("m.py", lineno) for lineno in (1, 2)] == [None, None]
    assert before == ()
    assert [entry.why.partition(": ")[0] for entry in tree.skipped] == ["not parsed"]


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, write: Writer) -> None:
    """A pipe, a directory named as a file, a dangling link and a loop of links are no source files."""
    write({"directory.py/inner.py": "", "real.py": ""})
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "directory.py" / "up").symlink_to(tmp_path, target_is_directory=True)
    names = ["pipe.py", "directory.py", "dangling.py", "loop.py"]
    frames = [str(tmp_path / name) for name in names]
    tree = SourceTree([tmp_path], [*names, *frames])
    assert [tree.locate(name) for name in (*names, *frames)] == [None] * 8
    assert tree.locate("/elsewhere/up/real.py") == tmp_path / "real.py"
    assert tree.task_at(str(tmp_path / "real.py"), 1) is None
    assert tree.skipped == ()


def test_a_file_that_turned_into_a_pipe_is_skipped(tmp_path: Path, write: Writer) -> None:
    """A file replaced after it was located is not waited for."""
    write({"m.py": "x = 1\n"})
    tree = SourceTree([tmp_path], ["m.py"])
    assert tree.locate("m.py")
    (tmp_path / "m.py").unlink()
    os.mkfifo(tmp_path / "m.py")
    assert tree.line("m.py", 1) is None
    assert tree.skipped == (Skipped(str(tmp_path / "m.py"), "not a regular file"),)
