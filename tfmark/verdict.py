"""The outcome of a verification."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfmark.alignment import Alignment

OWNED = "owned"
NOT_SHOWN = "not shown"
INCONCLUSIVE = "inconclusive"


def rounded_up(number: float) -> float:
    """A number, rounded up to two digits, so that "at most" stays true; at least 1e-300."""
    number = max(number, 1e-300)
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit * (1 - 1e-12)) * unit


@dataclass(frozen=True)
class Thorough:
    """What the thorough question found (see `tfmark.thorough`).

    Attributes:
        rounds: number of images that all marks were put on.
        marks: number of marks.
        lifted: number of marks that lift their label more than any other class; an innocent model
            does so with one in K.
        p_value: exact probability that random labels are lifted as far in sum, before the ordinary
            question, which was asked as well, is counted.
    """

    rounds: int
    marks: int
    lifted: int
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """What `tfmark.verify` found. `str(verdict)` says it in plain words.

    Example:
    ```python
    >>> verdict = tfmark.verify(model, key)
    >>> verdict.status, verdict.p_value <= verdict.alpha
    ('owned', True)
    >>> tfmark.verify(innocent, key).status
    'not shown'
    ```

    Attributes:
        status: "owned", "not shown", or "inconclusive" (the suspect could not be asked properly).
        p_value: anytime-valid p-value, 1 / (highest evidence), at most 1. The probability that a
            model made without the key ever reaches such evidence is no larger.
        evidence_bits: binary logarithm of the highest evidence, at least 0.
        queries: number of questions that were asked, one image each.
        matches: number of answers that were the label of their mark.
        alpha: error rate that was asked for.
        num_classes: number of classes K; an innocent model matches with probability 1 / K.
        num_marks: number of marks that could be asked, or of questions if fewer were allowed.
        tail_p_value: exact binomial tail of the matches, if every mark was asked, else `None`.
        reason: why asking ended.
        alignment: how the suspect's classes were brought to the key's, if they were.
        tries: how many tries are counted against the p-values, for what the claimant of evidence
            could have chosen (see `tfmark.evidence.choices`); 1 for an owner's own question, 2 if
            it may become a thorough one.
        thorough: what the thorough question found, if it was asked.
    """

    status: str
    p_value: float
    evidence_bits: float
    queries: int
    matches: int
    alpha: float
    num_classes: int
    num_marks: int
    tail_p_value: float | None
    reason: str
    alignment: Alignment | None = None
    tries: float = 1.0
    thorough: Thorough | None = None

    @property
    def owned(self) -> bool:
        """Whether the suspect was shown to carry the watermark."""
        return self.status == OWNED

    @property
    def sentence(self) -> str:
        """What was shown, under which assumption, at which error rate."""
        counts = f"{self.matches} of {self.queries} answers"
        found = f"{counts} match their secret labels"
        assumption = "The only assumption is that the labels are secret and random: then "
        if self.thorough is None:
            assumption += (
                f"a model made without the key matches each with probability 1/{self.num_classes}, "
                "whatever it does."
            )
        else:
            found += (
                f", and {self.thorough.lifted} of {self.thorough.marks} marks lift their label "
                f"more than any other class, over {self.thorough.rounds} images each"
            )
            assumption += (
                "they have nothing to do with what a model made without the key answers, whatever "
                "it does. That the ordinary question was asked as well is counted."
            )
        if self.tries > (1 if self.thorough is None else 2):
            assumption += (
                f" What whoever asked could have chosen to suit the answers is counted as "
                f"{self.tries:.3g} tries."
            )
        if self.alignment is not None:
            assumption += f" {self.alignment.sentence}"
        if self.status == OWNED:
            return (
                f"The suspect carries the watermark: {found}. A model "
                f"made without this key reaches such evidence with a probability of at most "
                f"{rounded_up(self.p_value):.2g}; the error rate asked for was {self.alpha:g}. "
                f"{assumption}"
            )
        if self.status == NOT_SHOWN:
            return (
                f"The watermark was not shown: {found}, which is no "
                f"proof at an error rate of {self.alpha:g} (p-value {self.p_value:.2g}). This does "
                f"not show that the suspect is innocent. {assumption}"
            )
        return (
            f"Inconclusive: the suspect could not be asked properly. {self.reason} Up to then "
            f"{counts} matched their secret labels (p-value {self.p_value:.2g}), which shows "
            f"neither that the suspect carries the watermark nor that it does not."
        )

    def to_dict(self) -> dict[str, Any]:
        """All facts, for JSON.

        Returns:
            A dict of the attributes, `owned` and `sentence`.
        """
        return asdict(self) | {"owned": self.owned, "sentence": self.sentence}

    def __str__(self) -> str:
        return self.sentence
