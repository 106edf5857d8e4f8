"""The steps of an audit, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tfmark.errors import TfmarkError
from tfmark.evidence.choices import Choice
from tfmark.evidence.record import Evidence
from tfmark.verdict import Verdict

HOLDS, REFUSED, OPEN = "holds", "refused", "not checked"
LONGEST = 2000  # characters of a text, which may have words of strangers in it
_ODD = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One step of an audit.

    Attributes:
        name: what was checked.
        status: "holds", "refused", or "not checked".
        text: what was found, in words.
    """

    name: str
    status: str
    text: str


@dataclass(frozen=True)
class Audit:
    """What `tfmark.audit` found. `str(audit)` says it step by step.

    Example:
    ```python
    >>> verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key, evidence="e.zip")
    >>> [step.name for step in tfmark.audit("e.zip").steps if step.status == "not checked"]
    ['time stamp']
    ```

    Attributes:
        steps: the steps, in order. After one that was refused there are none.
        alpha: the error rate that the auditor asked for.
        evidence: what was audited, `None` if a step was refused.
        verdict: its verdict, computed again; `None` if a step was refused.
        choices: what the claimant could have chosen, and how many tries that counts as.
        asked_again: what the suspect answered now, if it was asked again.
    """

    steps: tuple[Step, ...]
    alpha: float
    evidence: Evidence | None = None
    verdict: Verdict | None = None
    choices: tuple[Choice, ...] = ()
    asked_again: Verdict | None = None

    @property
    def holds(self) -> bool:
        """Whether no step was refused."""
        return all(step.status != REFUSED for step in self.steps)

    @property
    def proves(self) -> bool:
        """Whether all of it holds, and shows what it has to at the auditor's own error rate.

        What is the claimant's word alone does not count: there has to be a trusted time stamp, and
        answers that were not kept have to be asked for again.
        """
        return self.holds and not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """What a proof lacks, in words."""
        status = {step.name: step.status for step in self.steps}
        lacks = []
        if self.verdict is None or not self.verdict.owned:
            lacks.append("the watermark is not shown")
        elif self.verdict.p_value > self.alpha:
            lacks.append(f"its p-value {self.verdict.p_value:.2g} is above {self.alpha:g}")
        if self.evidence is not None and not self.evidence.spec.bound:
            lacks.append("the key is of format 1, whose marks do not bind who signs")
        if status.get("time stamp") != HOLDS:
            lacks.append("no trusted authority says that the commitment is older than the suspect")
        if HOLDS not in (status.get("answers"), status.get("asked again")):
            lacks.append("the answers are the claimant's word")
        return tuple(lacks)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if not self.holds:
            failed = self.steps[-1]
            return f"Refused at the step {failed.name!r}: {failed.text}"
        lacks = f" It is no proof: {'; '.join(self.missing)}." if self.missing else ""
        said = self.verdict.sentence if self.verdict is not None else ""
        return f"The evidence holds.{lacks} {said}"

    def to_dict(self) -> dict[str, Any]:
        """All facts, for JSON.

        Returns:
            A dict of what is above, but for the evidence itself.
        """
        return {
            "holds": self.holds,
            "proves": self.proves,
            "missing": list(self.missing),
            "alpha": self.alpha,
            "sentence": self.sentence,
            "steps": [vars(step) for step in self.steps],
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "asked_again": None if self.asked_again is None else self.asked_again.to_dict(),
        }

    def __str__(self) -> str:
        width = max(len(step.name) for step in self.steps)
        lines = [f"{step.name:{width}}  {step.status:11}  {step.text}" for step in self.steps]
        return "\n".join([*lines, self.sentence])


class RefusedStepError(Exception):
    """A step did not hold, so there is nothing to go on from."""


@dataclass
class Protocol:
    """Does one step after the other, and keeps what came of them."""

    steps: list[Step] = field(default_factory=list)

    def run(self, name: str, holds: str, step: Callable[[], T]) -> T:
        """Do a step.

        Args:
            name: what it checks.
            holds: what to say if it holds.
            step: raises a `TfmarkError` if it does not.

        Raises:
            RefusedStepError: if it does not hold.
        """
        try:
            result = step()
        except TfmarkError as error:
            problem = f"{str(error).rstrip('.')}."
        except _ODD as error:  # whoever made the file may have found what no check foresaw
            problem = f"It cannot be checked ({type(error).__name__})."
        else:
            self.add(Step(name, HOLDS, holds))
            return result
        self.add(Step(name, REFUSED, problem))
        raise AssertionError  # `add` raises

    def add(self, step: Step) -> None:
        """Keep a step.

        Raises:
            RefusedStepError: if it does not hold.
        """
        text = "".join(letter if letter.isprintable() else " " for letter in step.text)
        self.steps.append(replace(step, text=text[:LONGEST]))
        if step.status == REFUSED:
            raise RefusedStepError
