"""A pool is played, its log written as Celery would, and the reader must name who died with what."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_tools import WRAPPINGS, banner, child, deaths, hear, main, task_id, wrapped

NAME = "shop.tasks.charge"
ENDS = ("succeeded in 1.0s: None", "raised unexpected: ValueError('x')", "ignored")


@dataclass
class Telling:
    """What a log shows of its worker.

    Attributes:
        start: whether its banner is there.
        accepted: whether it is a log of DEBUG.
        own: whether tasks log themselves.
        job: whether the pool's number is told.
        exits: whether a child's exit is told, as well as the loss of its task.
    """

    start: bool
    accepted: bool
    own: bool
    job: bool
    exits: bool

    @property
    def certain(self) -> bool:
        """Whether the task of each death can be known."""
        return (self.start and self.job) or (self.exits and (self.accepted or self.own))


@dataclass
class Play:
    """A worker at play.

    Attributes:
        lines: its log.
        truth: the task that each busy child died with, and the child, in the order of the log.
    """

    size: int
    telling: Telling
    lines: list[str] = field(default_factory=list)
    truth: list[tuple[int, int]] = field(default_factory=list)
    idle_deaths: int = 0

    def __post_init__(self) -> None:
        self.now, self.tasks, self.born = 0.0, 0, self.size
        self.children: dict[int, int | None] = dict.fromkeys(range(1, self.size + 1))
        self.queue: list[int] = []
        if self.telling.start:
            self.lines += [*banner(self.size), main(0, "celery@w1 ready.")]

    def begin(self, number: int, task: int) -> None:
        """Let a child begin a task."""
        self.children[number] = task
        if self.telling.accepted:
            self.lines.append(
                main(self.now, f"Task accepted: {NAME}[{task_id(task)}] pid:{number + 100}", "DEBUG")
            )
        if self.telling.own:
            self.lines.append(child(self.now, number, f"{NAME}[{task_id(task)}]: charging"))

    def send(self, choice: int) -> None:
        """Send a task; whichever child is free takes it."""
        task, self.tasks = self.tasks, self.tasks + 1
        self.lines.append(main(self.now, f"Task {NAME}[{task_id(task)}] received"))
        free = [number for number, busy in self.children.items() if busy is None]
        if free:
            self.begin(free[choice % len(free)], task)
        else:
            self.queue.append(task)

    def end(self, choice: int) -> None:
        """Let a task come to its end."""
        busy = [number for number, task in self.children.items() if task is not None]
        if busy:
            number = busy[choice % len(busy)]
            task = self.children[number]
            self.lines.append(
                child(self.now, number, f"Task {NAME}[{task_id(task or 0)}] {ENDS[choice % len(ENDS)]}")
            )
            self.children[number] = None
            self.go_on(number)

    def die(self, choice: int) -> None:
        """Let a child be killed."""
        number = sorted(self.children)[choice % len(self.children)]
        task = self.children.pop(number)
        if self.telling.exits:
            exited = f"Process 'ForkPoolWorker-{number}' pid:{number + 100} exited with 'signal 9 (SIGKILL)'"
            self.lines.append(main(self.now, exited, "ERROR"))
            self.idle_deaths += task is None
        if task is not None:
            job = f" Job: {task}" if self.telling.job else ""
            lost = f"WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL){job}.')"
            self.lines.append(main(self.now + 0.01, f"Task handler raised error: {lost}", "ERROR"))
            self.truth.append((number, task))
        self.born += 1
        self.children[self.born] = None
        self.go_on(self.born)

    def go_on(self, number: int) -> None:
        """Give a free child what waits longest."""
        if self.queue:
            self.begin(number, self.queue.pop(0))

    def log(self) -> list[str]:
        """Return the log, at an end that is none of a worker's."""
        return [*self.lines, main(self.now + 60, "worker: Warm shutdown (MainProcess)")]


moves = st.lists(
    st.tuples(st.sampled_from(["send", "send", "send", "end", "end", "die"]), st.integers(0, 11)),
    min_size=8,
    max_size=80,
)
tellings = st.builds(Telling, *[st.booleans()] * 5)


def played(size: int, telling: Telling, steps: list[tuple[str, int]]) -> Play:
    """Play a pool; deaths lie so far apart that each is told before the next."""
    play = Play(size, telling)
    for move, choice in steps:
        play.now += 40 if move == "die" else 0.5
        getattr(play, move)(choice)
    return play


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 4), tellings, moves, st.sampled_from(sorted(WRAPPINGS)))
def test_the_task_that_died_is_named(
    size: int, telling: Telling, steps: list[tuple[str, int]], wrapping: str
) -> None:
    """Every death is told once; the task is among its candidates, and the first where the log allows to know it."""
    if wrapping == "syslog":
        wrapping = "plain"  # its stamps here are all of one second
    play = played(size, telling, steps)
    wrapping = (
        "plain"
        if wrapping in {"docker-json", "cri", "docker-t", "journal-json", "journal-numbers"}
        else wrapping
    )
    found = deaths(hear(wrapped(play.log(), wrapping)))
    assert len(found) == len(play.truth) + play.idle_deaths
    told = [one for one in found if one.busy]
    assert len(told) == len(play.truth)
    for one, (number, task) in zip(told, play.truth):
        ids = [candidate.id for candidate in one.tasks]
        assert task_id(task) in ids
        assert one.name == (f"ForkPoolWorker-{number}" if telling.exits else None)
        if telling.certain:
            assert ids[0] == task_id(task)
            assert one.tasks[0].how != "received" or len(ids) == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4), tellings, moves, st.integers(1, 400))
def test_where_a_log_is_cut_into_pieces_makes_no_difference(
    size: int, telling: Telling, steps: list[tuple[str, int]], step: int
) -> None:
    """A live log that comes in small pieces gives the same deaths as one read as a whole."""
    data = wrapped(played(size, telling, steps).log(), "plain")
    whole, pieces = deaths(hear(data)), deaths(hear(data, step=step))
    assert [(one.name, one.when, one.busy) for one in whole] == [
        (one.name, one.when, one.busy) for one in pieces
    ]
    for one, other in zip(whole, pieces):
        assert one.tasks[:1] == other.tasks[:1] or one.tasks[0].how == "received"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_full_pool_needs_no_further_words(size: int) -> None:
    """Where every child is busy, who became free tells who took what waited: no line says so, and yet it is known."""
    play = Play(size, Telling(start=True, accepted=False, own=False, job=False, exits=True))
    for choice in range(size + 3):
        play.send(choice)
    play.end(size - 1)
    last = max(number for number, task in play.children.items() if task == size)
    play.now = 50
    play.die(sorted(play.children).index(last))
    (death,) = [one for one in deaths(hear(wrapped(play.log(), "plain"))) if one.cause == "sigkill"]
    assert death.tasks[0].id == task_id(size)
