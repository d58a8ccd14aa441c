"""Which task types keep memory, by the best evidence there is for each.

What tracemalloc knew before and after an execution is exact, but for memory that it does not see. RSS before and after
says whose memory it is only where a process ran nothing else; else the growth of processes is fitted to executions. Where
that leaves several, none of them is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leakhunt.analysis.keeping import FEWEST, Keeping, Run, judge, runs
from leakhunt.analysis.sharing import Share, Shares, shares
from leakhunt.analysis.tracing import judge_traced
from leakhunt.model.columns import Executions
from leakhunt.model.record import Spread, Suspicion
from leakhunt.units import format_size

TRACED, FITTED, RSS = "traced", "rss fitted to executions", "rss"
_UNSEEN = "in memory that tracemalloc does not see: native, or lost between live blocks"
_OTHERS = "processes grow while it runs, but with the executions of others"
_QUARTILE = 0.67  # standard errors that half of all lie within
_RAN = {
    "in turns": "it always ran in turns with {}, and RSS cannot tell which of them keeps {}",
    "in step": "it always ran in step with {}, and RSS cannot tell which of them keeps {}",
    "alike": "it ran in much the same mix with {} all the time, and RSS cannot tell which of them keeps {}",
    "too few": "too few executions to tell whether it or {} keeps {}",
}
_NAMED = 3


class Judgement(NamedTuple):
    """What is known of one task type.

    Attributes:
        keeping: the verdict and its figures.
        measured: by what: ``traced``, ``rss fitted to executions``, ``rss``, or empty.
        counted: executions that the figures come from.
        warm_up: bytes that those left out kept; None where nothing was measured.
        suspected: where it may be the one that keeps memory.
    """

    keeping: Keeping
    measured: str
    counted: int
    warm_up: int | None
    suspected: Suspicion | None = None


class _Evidence:
    """What all processes tell of each task, by its number."""

    def __init__(self, processes: Sequence[Executions], names: Sequence[str]) -> None:
        self.names = names
        self.runs: dict[int, list[Run]] = defaultdict(list)
        self.alone: dict[int, list[Run]] = defaultdict(list)  # in processes that ran nothing else
        self.beside: dict[int, set[int]] = defaultdict(set)
        for executions in processes:
            ran = set(executions.task)
            for task, run in runs(executions).items():
                self.runs[task].append(run)
                if len(ran) == 1:
                    self.alone[task].append(run)
            for task in ran:
                self.beside[task] |= ran - {task}
        self.exact = judge_traced([part for executions in processes for part in executions.traced])
        self.litters = {  # RSS grows with garbage, too, and with what it costs to trace it
            task
            for task, exact in self.exact.items()
            if exact.apart and 2 * _counted(exact.found) >= _counted(self.runs[task])
        }
        self.known = {task for task, exact in self.exact.items() if exact.keeping.verdict == "keeps"}


def judge_all(processes: Sequence[Executions], names: Sequence[str]) -> dict[int, Judgement]:
    """Tell of each task type whether it keeps memory, by its number.

    Args:
        processes: those that ran one task at a time.
        names: of the tasks, by their numbers.
    """
    evidence = _Evidence(processes, names)
    mixed = any(evidence.beside.values())
    found = shares(processes, evidence.known) if mixed else Shares({}, None, told=True)
    own = {task: judge(seen) for task, seen in evidence.runs.items()}
    suspected = _suspected(found, own, evidence)
    if not evidence.litters.isdisjoint(suspected):  # the garbage of one is growth enough
        suspected = {}
    return {task: _judge(task, keeping, evidence, found, suspected) for task, keeping in own.items()}


def _judge(
    task: int, own: Keeping, evidence: _Evidence, found: Shares, suspected: Mapping[int, Suspicion]
) -> Judgement:
    """Judge a task by what was traced, and by RSS where that tells more."""
    exact = evidence.exact.get(task)
    if exact is not None and exact.keeping.verdict == "keeps":
        return _judgement(exact.keeping, TRACED, exact.found)
    judged = _by_rss(task, own, evidence, found, suspected)
    if exact is None:
        return judged
    if task in evidence.litters:
        return _judgement(exact.keeping, TRACED, exact.found)
    if exact.keeping.verdict != "clean" or judged.suspected is not None:
        return judged
    if judged.keeping.verdict == "keeps":
        return judged._replace(keeping=judged.keeping._replace(why=_UNSEEN))
    return _judgement(exact.keeping, TRACED, exact.found)


def _by_rss(
    task: int, own: Keeping, evidence: _Evidence, found: Shares, suspected: Mapping[int, Suspicion]
) -> Judgement:
    """Judge a task by RSS alone."""
    alone = judge(evidence.alone[task])
    share = found.sure.get(task)
    if not evidence.beside[task]:
        return _judgement(own, RSS, evidence.runs[task])
    if alone.verdict == "keeps":
        return _judgement(alone, RSS, evidence.alone[task])
    if share is not None:
        many = len(evidence.runs[task])
        where = f", in {share.processes} of {many}" if 0 < share.processes < many else ""
        keeping = Keeping("keeps", f"processes grow with its executions{where}", *_figures(share))
        warm_up = sum(run.warm_up for run in evidence.runs[task])
        return Judgement(keeping, FITTED, share.executions, warm_up)
    suspicion = suspected.get(task)
    if suspicion is not None:
        keeping = Keeping("too few", _doubtful(evidence.names[task], suspicion), None, None)
        return _judgement(keeping, FITTED, evidence.runs[task])._replace(suspected=suspicion)
    seems = own.verdict == "keeps" or (own.verdict == "too few" and _counted(evidence.runs[task]) >= FEWEST)
    if not seems:
        return _judgement(own, RSS, evidence.runs[task])
    if found.sure or evidence.known:
        own = Keeping("clean", _OTHERS, Spread(0, 0, 0), 0)
    else:
        own = Keeping("too few", "what it seems to keep does not go with how often it runs", None, None)
    return _judgement(own, FITTED, evidence.runs[task])


def _judgement(keeping: Keeping, measured: str, found: Sequence[Run]) -> Judgement:
    warm_up = sum(run.warm_up for run in found) if found else None
    return Judgement(keeping, measured if found else "", _counted(found), warm_up)


def _counted(found: Sequence[Run]) -> int:
    return sum(len(run.kept) for run in found)


def _figures(share: Share) -> tuple[Spread, int]:
    off = _QUARTILE * share.error
    spread = Spread(round(share.slope), round(share.slope - off), round(share.slope + off))
    return spread, round(share.slope * share.executions)


def _suspected(found: Shares, own: Mapping[int, Keeping], evidence: _Evidence) -> dict[int, Suspicion]:
    """Return the tasks of which some keep memory, and nobody can say which."""
    doubt = found.doubt
    if doubt is not None:
        each, total, executions, ran = doubt.slopes, doubt.total, doubt.executions, doubt.ran
    elif found.told:
        return {}
    else:
        seeming = [
            task for task, keeping in own.items() if keeping.verdict == "keeps" and evidence.beside[task]
        ]
        doubted = {other for task in seeming for other in (task, *evidence.beside[task])} - evidence.known
        total = sum(own[task].total or 0 for task in seeming)
        ran_often = {task: _counted(evidence.runs[task]) for task in doubted if task in evidence.runs}
        each = {task: total / count for task, count in ran_often.items() if count}
        executions, ran = sum(ran_often.values()), "too few"
    names = tuple(sorted(evidence.names[task] for task in each))
    return {task: Suspicion(names, round(size), round(total), executions, ran) for task, size in each.items()}


def _doubtful(name: str, suspicion: Suspicion) -> str:
    """Say why a task is not told from others."""
    others = [other for other in suspicion.tasks if other != name]
    if not others:
        return (
            f"it may keep {format_size(suspicion.each)} per execution, but more executions have to confirm it"
        )
    more = [f"{len(others) - _NAMED:,} others"] if len(others) > _NAMED else []
    *first, last = [*others[:_NAMED], *more]
    word = "or" if suspicion.ran == "too few" else "and"
    text = f"{', '.join(first)} {word} {last}" if first else last
    return _RAN[suspicion.ran].format(text, f"{format_size(suspicion.each)} per execution")
