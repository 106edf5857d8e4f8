"""The sequential test: how many marks to ask next, and when it is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from tfmark import statistics
from tfmark.answers import ClassIds
from tfmark.class_names import NO_ANSWER
from tfmark.errors import InvalidArgumentError
from tfmark.triggers import Ints
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, OWNED, Verdict, rounded_up

FOLLOW_UP = 4  # questions at a time after a first miss, so that innocent suspects cost few marks


@dataclass
class SequentialTest:
    """Counts answers, and says when it is enough.

    Attributes:
        num_marks: number of marks that may be asked, or of questions if fewer are allowed.
        num_classes: number of classes K.
        alpha: error rate of the test.
        queries: number of answers so far.
        matches: number of them that were the label of their mark.
        missing: number of them that were none.
        best: natural logarithm of the highest evidence so far.
        log_tries: natural logarithm of the number of tries that whoever asks could have had, by
            choosing how to ask once the answers were known (see `tfmark.evidence.choices`): the
            evidence has to be so much higher, by the union bound. 0 for an owner's own question.
        limited: whether fewer questions were allowed than there are marks: there is no binomial
            tail then, as that number may be chosen to suit the answers.

    Raises:
        InvalidArgumentError: if so many marks cannot prove anything at `alpha`.
    """

    num_marks: int
    num_classes: int
    alpha: float
    queries: int = 0
    matches: int = 0
    missing: int = 0
    best: float = 0.0
    log_tries: float = 0.0
    limited: bool = False

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        most = statistics.evidence_of(self.num_marks, self.num_marks, self.num_classes)
        if not self._alpha_each or most < self._needed:
            what = f"{self.num_marks} marks of {self.num_classes} classes cannot prove more"
            if self.log_tries:
                what += f", as 10^{self.log_tries / math.log(10):.1f} tries have to be counted"
            smallest = self.log_tries - most
            expected = "more marks"
            if smallest < 0:
                expected = f"at least {rounded_up(math.exp(smallest)):.2g}"
            raise InvalidArgumentError(
                f"Invalid value for argument `alpha`. Expected {expected}: {what}. "
                f"Received: alpha={self.alpha!r}"
            )

    @property
    def proved(self) -> bool:
        """Whether the evidence suffices."""
        return self.best >= self._needed

    @property
    def _needed(self) -> float:
        return -math.log(self._alpha_each)

    @property
    def _alpha_each(self) -> float:
        return self.alpha * math.exp(-self.log_tries)

    def questions(self) -> int:
        """How many marks to ask next, 0 if it is decided.

        As many as would suffice if all of them matched: those are needed in any case.
        """
        if self.proved or self.queries == self.num_marks:
            return 0
        counts = self.matches, self.queries, self.num_marks, self.num_classes
        return _undecided(*counts, self._alpha_each)

    def record(self, answers: ClassIds, labels: Ints) -> None:
        """Count answers to the next marks. Answers that are missing are misses."""
        for answer, label in zip(answers, labels, strict=True):
            self.queries += 1
            self.missing += int(answer == NO_ANSWER)
            self.matches += int(answer == label)
            evidence = statistics.evidence_of(self.matches, self.queries, self.num_classes)
            self.best = max(self.best, evidence)

    def verdict(self, problem: str = "") -> Verdict:
        """What was found so far.

        Args:
            problem: why the suspect could not be asked on, if so.
        """
        every = self.queries == self.num_marks
        if not (problem or self.proved) and 2 * self.missing > self.queries:
            problem = f"Of {self.queries} questions {self.missing} got no class for an answer."
        if problem:
            status, reason = INCONCLUSIVE, problem
        elif self.proved:
            status, reason = OWNED, "The evidence suffices."
        else:
            status = NOT_SHOWN
            reason = (
                "Every mark that may be asked was asked."
                if every
                else "The remaining marks would not change that."
            )
        counts = self.matches, self.queries, self.num_classes
        net = max(0.0, self.best - self.log_tries)
        tail = statistics.binomial_tail(*counts) if every and not self.limited else None
        tries = math.exp(min(self.log_tries, 700.0))  # the largest float is e^709.8
        return Verdict(
            status=status,
            p_value=math.exp(-net),
            evidence_bits=net / math.log(2),
            queries=self.queries,
            matches=self.matches,
            alpha=self.alpha,
            num_classes=self.num_classes,
            num_marks=self.num_marks,
            tail_p_value=None if tail is None else min(1.0, tail * tries),
            reason=reason,
            tries=tries,
        )


def corrected_alpha(num_marks: int, num_classes: int, alpha: float, count: int) -> float:
    """The error rate for each of `count` suspects, so that that of all together is `alpha`.

    Raises:
        InvalidArgumentError: if so many marks cannot prove anything at it.
    """
    check_alpha(alpha)
    most = statistics.evidence_of(num_marks, num_marks, num_classes)
    if alpha / count > 0 and most >= -math.log(alpha / count):
        return alpha / count
    smallest = f"{rounded_up(math.exp(math.log(count) - most)):.2g}"
    largest = math.floor(math.exp(most + math.log(alpha)) * (1 - 1e-9))
    raise InvalidArgumentError(
        f"The key's {num_marks} marks of {num_classes} classes are too few for alpha={alpha:g} "
        f"over {count} endpoints, {alpha / count:.2g} each. For so many, alpha has to be at least "
        f"{smallest}; at this alpha, the list may have at most {largest} endpoints."
    )


@lru_cache(maxsize=1 << 14)
def _undecided(matches: int, queries: int, marks: int, num_classes: int, alpha: float) -> int:
    """How many marks to ask next where nothing is proved and marks are left; 0 if it is in vain."""
    if statistics.is_hopeless(matches, queries, marks, num_classes, alpha):
        return 0
    needed = statistics.matches_to_prove(matches, queries, num_classes, alpha)
    if matches < queries:
        needed = min(needed, FOLLOW_UP)
    return min(needed, marks - queries)


def check_alpha(alpha: float) -> None:
    """Refuse what is no error rate.

    Raises:
        InvalidArgumentError: if it is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InvalidArgumentError(
            "Invalid value for argument `alpha`. Expected a number between 0 and 1. "
            f"Received: alpha={alpha!r}"
        )
