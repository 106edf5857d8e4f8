"""What a claimant could have chosen after seeing answers, and how many tries each choice is worth.

A p-value assumes that nothing was chosen to suit the answers. An owner who asks for their own sake
has no reason to cheat; a third party cannot know. So each choice that evidence leaves open is
counted as tries, and the evidence has to be so many times higher. Over all that could be chosen,
1 / tries sums up to at most 1, so by the union bound no choice at all, made with every answer at
hand, reaches "owned" with a probability above alpha. What would be too many tries is not open:
labels, triggers and their order follow from the commitment, and the scale of pixels is the
committed one or one of `SCALES`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfmark.endpoints.dialect import Dialect
from tfmark.errors import InvalidArgumentError
from tfmark.pixels import ValueRange

if TYPE_CHECKING:
    from tfmark.alignment import Alignment
    from tfmark.evidence.tape import Exchange

SCALES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# Four scales, four forms of pixels, each mirrored or not, and 16 signatures, inputs or outputs that
# a model may have.
SETTINGS = 4 * 4 * 2 * 16
_SETTINGS = ("signature", "input", "output", "pixels", "value_range", "mirrored")


@dataclass(frozen=True)
class Choice:
    """Something that a claimant could have chosen.

    Attributes:
        what: the choice, in words.
        log_tries: natural logarithm of how many tries it is worth.
    """

    what: str
    log_tries: float


# What repeats leave open adds up to 0.8 of what may be, 1/2 times the product over all places p of
# 1 + 2 / (4 (p + 1) (p + 2)). An eighth of that besides is still no more than 1.
_THOROUGH = Choice("the thorough question, where the ordinary one shows nothing", math.log(8))


def choices(
    first: int,
    num_classes: int,
    committed: ValueRange,
    dialect: Dialect,
    alignment: Alignment | None,
    exchanges: Sequence[Exchange],
    thorough: bool = False,
) -> tuple[Choice, ...]:
    """What was left open in asking.

    Args:
        first: index of the first mark that was asked.
        num_classes: number of classes K of the key.
        committed: scale of pixels of the commitment.
        dialect: how the suspect was asked.
        alignment: how its classes were brought to the key's, if they were.
        exchanges: what crossed the wire so far.
        thorough: whether the claim rests on the thorough question. Defaults to `False`.

    Raises:
        InvalidArgumentError: if the scale is one that evidence does not take.
    """
    scale = dialect.value_range
    if scale not in (None, committed, *SCALES):
        raise InvalidArgumentError(
            f"Evidence takes images in the committed scale {committed} or one of {SCALES}: a scale "
            f"of one's own would be any number of tries. Received: {scale}"
        )
    chosen = [name for name in _SETTINGS if getattr(dialect, name) not in (None, False, committed)]
    settings = (
        Choice(f"settings of one's own: {', '.join(chosen)}", math.log(2 * SETTINGS))
        if chosen
        else Choice("no settings of one's own", math.log(2))
    )
    start = Choice(f"mark {first} as the first one", math.log((first + 1) * (first + 2)))
    named = dialect.class_names is not None
    made = start, settings, _classes(num_classes, named, alignment), _repeats(exchanges)
    return (*made, _THOROUGH) if thorough else made


def log_tries(found: Iterable[Choice]) -> float:
    """Natural logarithm of the tries of all choices together."""
    return sum(choice.log_tries for choice in found)


def _repeats(exchanges: Sequence[Exchange]) -> Choice:
    """What is said to have failed could be an answer that did not suit: it may be asked again.

    Each failure stands at some place, and leads to the same question or to a smaller one.
    """
    places = [place for place, exchange in enumerate(exchanges) if exchange.failed]
    tries = math.log(2) + sum(math.log(4 * (place + 1) * (place + 2)) for place in places)
    what = f"{len(places)} requests" if len(places) != 1 else "one request"
    return Choice(f"{what} without an answer", tries)


def _classes(num_classes: int, named: bool, alignment: Alignment | None) -> Choice:
    permutations = math.lgamma(num_classes + 1)
    if alignment is not None and not alignment.one_to_one:
        theirs = len(alignment.classes)
        maps = theirs * math.log(num_classes) + math.log((theirs + 1) * (theirs + 2))
        return Choice("which classes stand for which, on clean images", math.log(4) + maps)
    if alignment is not None:
        return Choice("which class is which, on clean images", math.log(4) + permutations)
    if named:
        return Choice("which class has which name", math.log(4) + permutations)
    return Choice("classes as the suspect numbers them", math.log(2))
