"""Tables of kills: what repeats, each kill, newest first, what is no kill, and rows of raw values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from leakhunt.analysis.incident.groups import bursts_of, owner_name
from leakhunt.model.oom import OomKill
from leakhunt.model.report import Column, Detail, Kind, Line, Report, Table
from leakhunt.model.verdict import KillGroup, OomResult, TaskLoop
from leakhunt.present import oom_words as words
from leakhunt.present.oom_next import next_step
from leakhunt.units import count_of, format_count, format_duration, format_size

_MOST_GROUPS = 5
_MOST_ROWS = 5
_MOST_NAMES = 3


def repeated(result: OomResult) -> Table:
    """Return whose processes were killed more than once, and what was delivered to be killed again."""
    groups = [group for group in result.groups if group.bursts > 1]
    columns = (
        Column("kills", "kills", Kind.COUNT),
        Column("last", "last used", Kind.SIZE),
        Column("place", "killed again and again", Kind.TEXT),
    )
    shown = groups[:_MOST_GROUPS]
    lines = [_group_line(group, result.loops) for group in shown]
    inside = {at for group in shown for at in group.members}
    outside = [loop for loop in result.loops if not inside.issuperset(loop.members)]
    lines += [
        Line((loop.kills, None, loop.name or "a task"), (_loop(loop),)) for loop in outside[:_MOST_GROUPS]
    ]
    more = len(groups) - _MOST_GROUPS
    notes = (f"{count_of(more, 'further owner')} with repeated kills.",) if more > 0 else ()
    return Table(columns, tuple(lines), notes, prose=True)


def _group_line(group: KillGroup, loops: Sequence[TaskLoop]) -> Line:
    """Say whose kills these are, how they repeat, and what was running."""
    looped = any(set(loop.members) >= set(group.members) for loop in loops)
    details = [Detail(sentence, "note") for sentence in words.repetition(group, looped=looped)]
    if group.kills > group.bursts:
        bursts = f"{format_count(group.kills)} processes in {count_of(group.bursts, 'burst')}"
        details.insert(0, Detail(bursts, "note"))
    details += [Detail(f"task {name} ({count} of {group.bursts})", "task") for name, count in group.tasks[:3]]
    details += [_loop(loop) for loop in loops if set(loop.members) <= set(group.members)][:_MOST_GROUPS]
    return Line(
        (group.kills, group.sizes[-1] if group.sizes else None, words.group_name(group)), tuple(details)
    )


def _loop(loop: TaskLoop) -> Detail:
    """Call a loop by its name, and say what stops it."""
    if loop.id is None:
        again = f"{loop.kills} messages with the same arguments were killed: try these arguments alone"
        return Detail(again, "note")
    tied = f"message {loop.id}"
    return Detail(
        f"poison pill: {tied}, delivered {loop.deliveries} times and killed {loop.kills} times; what stops it is a "
        "delivery limit of the queue, or attempts counted by the task (not a time limit: the kill comes first)",
        "note",
    )


def kills(result: OomResult, limit: int, *, details: bool, evidence: bool) -> Table:
    """Return each kill, newest first; a storm is summed up unless details are wanted."""
    columns = (
        Column("when", "when (UTC)", Kind.TIME),
        Column("anon_rss", "used", Kind.SIZE),
        Column("place", "who, by whose limit, running what", Kind.TEXT),
    )
    bursts = bursts_of(result.kills)[::-1]
    shown = bursts[:limit] if limit else bursts
    told: set[str] = set()
    owned = len(result.groups) > 1  # the headline names the only one
    lines = []
    for burst in shown:
        if len(burst) > 1 and not details:
            lines.append(_storm_line(burst, result.paths, told, evidence=evidence))
            continue
        lines += [
            Line(
                (kill.when, kill.anon_rss, words.sentence(kill, owned=owned)),
                tuple(_once(about(kill, result.paths, details=details, evidence=evidence), told)),
            )
            for kill in burst
        ]
    left = sum(map(len, bursts[len(shown) :]))
    notes = (f"{count_of(left, 'older kill')} not listed: --top 0 lists all.",) if left else ()
    return Table(columns, tuple(lines), notes, prose=True)


def _next(kill: OomKill, paths: Sequence[str], *, details: bool = False) -> Iterator[Detail]:
    step = next_step(kill, paths, details=details)
    if step is None:
        return
    if not step.command:
        yield Detail(f"next: {step.purpose}", "note")
        return
    yield Detail(f"next: {step.purpose}:", "next")
    yield Detail(step.command, "command")


def _once(details: Iterable[Detail], told: set[str]) -> Iterator[Detail]:
    """Give each command once, with what it is for."""
    held: Detail | None = None
    for detail in details:
        if detail.role == "next":
            held = detail
        elif detail.role != "command":
            yield detail
        elif detail.text not in told:
            told.add(detail.text)
            yield from filter(None, (held, detail))


def about(
    kill: OomKill, paths: Sequence[str], *, details: bool = False, evidence: bool = False
) -> Iterator[Detail]:
    """Yield what is to be said below the sentence on a kill; the last is what to do next."""
    if kill.task is not None:
        yield Detail(words.task_of(kill), "task")
    yield Detail(words.certainty(kill), "note")
    if kill.at_least:
        yield Detail("this is at least one kill: the source says that it may stand for more", "note")
    yield from (Detail(note, "note") for note in kill.notes)
    yield from (Detail(sentence, "note") for sentence in words.others(kill))
    if details:
        yield from (Detail(text, "code") for text in _parts(kill))
    if evidence:
        for line in kill.evidence:
            place = f"{line.source}:{line.line}" if line.line else line.source
            yield Detail(f"{place}: {line.text}", "code")
    yield from _next(kill, paths, details=details)


def _storm_line(burst: Sequence[OomKill], paths: Sequence[str], told: set[str], *, evidence: bool) -> Line:
    """Sum up kills that came at once: a group that died as a whole, or one report after another."""
    largest = max(burst, key=lambda kill: kill.anon_rss or 0)
    names = Counter(_quoted(kill.comm or "unknown") for kill in burst)
    listed = ", ".join(f"{format_count(count)} {name}" for name, count in names.most_common(4))
    more = f" and {count_of(len(names) - 4, 'other name')}" if len(names) > 4 else ""
    span = _seconds(burst)
    together = "together, as a group" if largest.group else "in a storm"
    owners = {words.whose(kill) for kill in burst}
    owner = f" {owners.pop()}" if len(owners) == 1 and owners != {""} else ""
    within = f" within {format_duration(span)}" if span >= 0.1 else ""
    sentence = f"{count_of(len(burst), 'process')} {together}{within}{owner} ({listed}{more}), killed {words.why(largest)}"
    size = f" with {format_size(largest.anon_rss)}" if largest.anon_rss is not None else ""
    details = [Detail(f"the largest was {words.who(largest)}{size}", "note")]
    known = [kill for kill in burst if kill.worker is not None or kill.task is not None]
    if len(known) < 2 or all((kill.worker, kill.task) == (known[0].worker, known[0].task) for kill in known):
        details += about(known[0] if known else largest, paths, evidence=evidence)
    else:
        details += [
            Detail(f"{words.who(kill)}: {words.task_of(kill)}", "task") for kill in known[:_MOST_ROWS]
        ]
        details.append(Detail(words.certainty(known[0]), "note"))
        details += _next(known[0], paths)
    sizes = [kill.anon_rss for kill in burst if kill.anon_rss is not None]
    return Line((burst[0].when, sum(sizes) if sizes else None, sentence), tuple(_once(details, told)))


def _quoted(name: str) -> str:
    """Put a name in quotes that would not be seen to end."""
    return name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{name}"'


def _seconds(burst: Sequence[OomKill]) -> float:
    times = [kill.when for kill in burst if kill.when is not None]
    return (max(times) - min(times)).total_seconds() if times else 0.0


def _parts(kill: OomKill) -> Iterator[str]:
    """Yield the parts of a report, as far as they are there."""
    sizes = words.held(kill)
    if sizes:
        total = f", {format_size(kill.total_vm)} of address space" if kill.total_vm is not None else ""
        yield f"memory: {sizes}{total}"
    memory = kill.memory
    if memory is not None and memory.usage is not None:
        limit = format_size(memory.limit) if memory.limit is not None else "no limit"
        failures = f", hit {format_count(memory.failcnt)} times" if memory.failcnt is not None else ""
        version = f" (control groups v{memory.version})" if memory.version is not None else ""
        yield f"limit: {format_size(memory.usage)} used of {limit}{failures}{version}"
    owner = kill.cgroup
    if owner is not None:
        both = (("control group with the limit", owner.limited), ("control group", owner.victim))
        yield from (f"{name}: {path}" for name, path in both[owner.limited == owner.victim :] if path)
    scores = (("badness", kill.score), ("oom_score_adj", kill.oom_score_adj), ("uid", kill.uid))
    line = ", ".join(f"{name} {value}" for name, value in scores if value is not None)
    kernel = f"kernel {kill.kernel}" if kill.kernel else ""
    yield from filter(None, (", ".join(filter(None, (line, kernel))),))
    yield from _largest(kill)
    if kill.missing:
        yield f"missing from the report: {', '.join(kill.missing)}"
    if "page size" in kill.missing and kill.tasks:
        yield f"sizes of processes are those of pages of {format_size(kill.page_size)}, which is assumed"
    if "unit of pgtables" in kill.missing:
        yield "this kernel prints the bytes of page tables and calls them kB: the size of these is not to be trusted"
    if kill.copies > 1:
        yield f"told {format_count(kill.copies)} times, counted once"


def _largest(kill: OomKill) -> Iterator[str]:
    """Yield the largest processes of a report, and the names that several have, by what these hold together."""
    rows = sorted(kill.tasks, key=lambda row: -(row.rss + (row.swap or 0)))
    for row in rows[:_MOST_ROWS]:
        swap = f" + {format_size(row.swap)} swapped" if row.swap else ""
        yield f"  {format_size(row.rss):>9}{swap}  {row.comm} (pid {row.pid})"
    if len(rows) > _MOST_ROWS:
        yield f"  and {count_of(len(rows) - _MOST_ROWS + kill.tasks_omitted, 'process')} with less"
    counts, sizes = Counter(row.comm for row in rows), Counter[str]()
    for row in rows:
        sizes[row.comm] += row.rss + (row.swap or 0)
    several = [(comm, size) for comm, size in sizes.most_common() if counts[comm] > 1]
    if several and not kill.tasks_omitted:  # else the sums would be of some only
        sums = [
            f"{format_size(size)} in {format_count(counts[comm])} {_quoted(comm)}" for comm, size in several
        ]
        yield f"by name, what they share counted for each: {', '.join(sums[:_MOST_NAMES])}"


def not_kills(result: OomResult, *, evidence: bool) -> Table:
    """Return the deaths and failures that are no kills for want of memory."""
    columns = (
        Column("when", "when (UTC)", Kind.TIME),
        Column("place", "not an OOM kill", Kind.TEXT),
    )
    lines = []
    for one in result.not_kills:
        process = f"{one.process.comm}: " if one.process is not None else ""
        details: tuple[Detail, ...] = (Detail(one.text, "note"),) if one.text else ()
        line = one.evidence
        place = f"{line.source}:{line.line}: " if evidence else ""
        details += (Detail(f"{place}{line.text}", "code"),)
        lines.append(Line((one.when, f"{process}{words.kind_of(one.kind)}"), details))
    return Table(columns, tuple(lines), prose=True)


def rows_report(result: OomResult) -> Report:
    """Return a row of raw values for each kill, for spreadsheets."""
    columns = tuple(
        Column(key, key, kind)
        for key, kind in (
            ("when", Kind.TIME), ("confidence", Kind.TEXT), ("killer", Kind.TEXT), ("scope", Kind.TEXT),
            ("host", Kind.TEXT), ("owner", Kind.TEXT), ("pid", Kind.COUNT), ("comm", Kind.TEXT),
            ("anon_rss", Kind.SIZE), ("file_rss", Kind.SIZE), ("shmem_rss", Kind.SIZE), ("total_vm", Kind.SIZE),
            ("limit", Kind.SIZE), ("oom_score_adj", Kind.COUNT), ("worker", Kind.TEXT), ("worker_pid", Kind.COUNT),
            ("task", Kind.TEXT), ("task_id", Kind.TEXT), ("task_how", Kind.TEXT), ("copies", Kind.COUNT),
            ("source", Kind.TEXT), ("line", Kind.COUNT),
        )
    )  # fmt: skip
    lines = []
    for kill in result.kills:
        worker, task = kill.worker, kill.task
        first = kill.evidence[0] if kill.evidence else None
        lines.append(
            Line(
                (
                    kill.when, kill.confidence, kill.killer, kill.scope,
                    kill.host, owner_name(kill)[1], kill.pid, kill.comm,
                    kill.anon_rss, kill.file_rss, kill.shmem_rss, kill.total_vm,
                    kill.memory.limit if kill.memory else None, kill.oom_score_adj,
                    (worker.name or worker.node) if worker else None, worker.pid if worker else None,
                    task.name if task else None, task.id if task else None, task.how if task else None, kill.copies,
                    first.source if first else None, first.line if first else None,
                )
            )
        )  # fmt: skip
    return Report("", (), (Table(columns, tuple(lines)),), warnings=result.warnings, skipped=result.skipped)
