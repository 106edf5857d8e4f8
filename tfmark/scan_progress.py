"""How far a scan is with each endpoint, as its journal says it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tfmark.answers import ClassIds
from tfmark.endpoint_list import shown
from tfmark.journal import Journal
from tfmark.scan_endpoint import Interrupted
from tfmark.sequential import SequentialTest
from tfmark.statistics import evidence_of
from tfmark.triggers import Ints
from tfmark.verdict import INCONCLUSIVE, Verdict

ROUNDING = 1e-9  # logarithms may differ by less between machines


class Progress(NamedTuple):
    """What an endpoint answered so far; the attributes are those of `SequentialTest`."""

    queries: int = 0
    matches: int = 0
    missing: int = 0
    best: float = 0.0


@dataclass
class RecordedTest(SequentialTest):
    """A test that hands on what was answered before it goes on, and that can be interrupted.

    Attributes:
        at_once: the most questions in a batch.
        record_progress: is called after each batch.
        stop: once it is set, `Interrupted` is raised instead of the next questions.
    """

    at_once: int = 1
    record_progress: Callable[[Progress], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)

    def questions(self) -> int:
        """See `SequentialTest.questions`."""
        count = min(super().questions(), self.at_once)
        if count and self.stop.is_set():
            raise Interrupted
        return count

    def record(self, answers: ClassIds, labels: Ints) -> None:
        """See `SequentialTest.record`."""
        super().record(answers, labels)
        self.record_progress(Progress(self.queries, self.matches, self.missing, self.best))


@dataclass
class Restored:
    """What a journal says.

    Attributes:
        progress: how far each endpoint is that answered, by its index in the list.
        verdicts: for each endpoint that has a verdict why it could not be asked properly, "" if it
            could. The verdict itself follows from its progress.
    """

    progress: dict[int, Progress] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)


def progress_facts(index: int, endpoint: str, progress: Progress) -> dict[str, Any]:
    """The line of the journal for an answered batch."""
    return {"at": index, "endpoint": endpoint, **progress._asdict()}


def verdict_facts(index: int, endpoint: str, verdict: Verdict) -> dict[str, Any]:
    """The line of the journal for a verdict."""
    return {"at": index, "endpoint": endpoint, "verdict": verdict.to_dict()}


def restore(
    journal: Journal, addresses: Sequence[str], new_test: Callable[[Progress], SequentialTest]
) -> Restored:
    """Read a journal. Lines that cannot follow from those before count as damaged.

    No verdict is taken from it without the answers that lead to it.

    Args:
        journal: the journal.
        addresses: the endpoints of the scan.
        new_test: makes a test that stands where a `Progress` says.
    """
    restored = Restored()
    for facts in journal.lines():
        try:
            index = facts["at"]
            known = type(index) is int and 0 <= index < len(addresses)
            accepted = (
                known
                and facts["endpoint"] == shown(addresses[index])
                and _accept(facts, index, restored, new_test)
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            accepted = False
        journal.damaged += not accepted
    return restored


def _accept(
    facts: dict[str, Any],
    index: int,
    restored: Restored,
    new_test: Callable[[Progress], SequentialTest],
) -> bool:
    before = restored.progress.get(index, Progress())
    test = new_test(before)
    if "verdict" in facts:
        problem = _problem(facts["verdict"], test)
        if problem is None:
            return False
        restored.verdicts[index] = problem
        return True
    progress = Progress(*(facts[name] for name in Progress._fields))
    if not _follows(progress, before, test):
        return False
    restored.progress[index] = progress
    restored.verdicts.pop(index, None)  # it is being asked again
    return True


def _problem(verdict: dict[str, Any], test: SequentialTest) -> str | None:
    """The problem that a verdict tells of, "" for none; `None` if it is not that of the test."""
    problem = verdict["reason"] if verdict["status"] == INCONCLUSIVE else ""
    if not isinstance(problem, str) or (test.proved and problem):
        return None
    if test.questions() and not problem:
        return None
    expected = test.verdict(problem)
    names = ("status", "queries", "matches")
    same = all(verdict[name] == getattr(expected, name) for name in names)
    return problem if same else None


def _follows(after: Progress, before: Progress, test: SequentialTest) -> bool:
    """Whether an endpoint can be here after it was there."""
    counts = after[:3]
    if any(type(count) is not int for count in counts) or type(after.best) is not float:
        return False
    queries, matches, missing = (a - b for a, b in zip(counts, before[:3], strict=True))
    possible = (
        test.questions() > 0
        and after.queries <= test.num_marks
        and min(queries - 1, matches, missing) >= 0
        and matches + missing <= queries
    )
    if not possible:
        return False
    least = max(before.best, evidence_of(after.matches, after.queries, test.num_classes))
    most = max(before.best, *_evidence_on_the_way(after, before, test.num_classes))
    return least - ROUNDING <= after.best <= most + ROUNDING


def _evidence_on_the_way(after: Progress, before: Progress, num_classes: int) -> list[float]:
    """The highest evidence there can have been: that of an order in which matches come first."""
    return [
        evidence_of(before.matches + i, before.queries + i, num_classes)
        for i in range(after.matches - before.matches + 1)
    ]
