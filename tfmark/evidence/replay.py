"""Asks a suspect once more that is not there: its answers come from the exchanges that were kept.

The code is that which asked the real one. So each request has to be the one that the opened marks
call for, and each answer is read again by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tfmark.alignment import Alignment
from tfmark.answers import ClassIds, Scores
from tfmark.endpoints.base import Endpoint, checked_scores
from tfmark.errors import EndpointError, EvidenceError
from tfmark.evidence.record import Evidence
from tfmark.evidence.suspects import suspect_of
from tfmark.evidence.tape import Exchange, PlayingConnection
from tfmark.triggers import TriggerSet

_SCHEMES = ("http://", "https://", "grpc://", "grpcs://")


@dataclass(frozen=True)
class Replayed:
    """What came out.

    Attributes:
        answers: class ids, one for each trigger.
        alignment: how the suspect's classes were brought to the key's, if they were.
        seen: number of exchanges before the first round, and after each.
        scores: float64 array of shape (rounds, marks, classes) of the thorough question, if it was
            asked.
    """

    answers: ClassIds
    alignment: Alignment | None
    seen: tuple[int, ...]
    scores: Scores | None = None


def replay(evidence: Evidence, triggers: TriggerSet, rounds: Iterable[TriggerSet] = ()) -> Replayed:
    """Read the answers of a service again.

    Args:
        evidence: the evidence.
        triggers: those of the ordinary question.
        rounds: those of the thorough one, if it was asked.

    Raises:
        EvidenceError: if a request is not the one that belongs there.
        InvalidArgumentError: if the suspect cannot be asked in such a way.
    """
    asking = evidence.asking
    if not asking.name.startswith(_SCHEMES) or asking.dialect.protocol == "local":
        raise EvidenceError("the suspect has no address of a service")
    tape = _Tape(evidence.exchanges)
    connection = PlayingConnection(tape=tape, retries=asking.retries)
    try:
        suspect, alignment = suspect_of(evidence, asking.name, asking.dialect, connection)
        answers, seen = _classify(suspect, triggers, asking.rounds, tape)
        classes = evidence.spec.num_classes
        scores = [checked_scores(suspect, asked.pixels, classes) for asked in rounds]
    except EndpointError as error:
        raise EvidenceError(f"the answers that were kept are none: {error}") from None
    if next(tape, None) is not None:
        raise EvidenceError("it has exchanges that no trigger calls for")
    return Replayed(answers, alignment, seen, np.stack(scores) if scores else None)


class _Tape:
    """The exchanges one after the other, and how many of them were played."""

    def __init__(self, exchanges: tuple[Exchange, ...]):
        self._left = iter(exchanges)
        self.played = 0

    def __iter__(self) -> Iterator[Exchange]:
        return self

    def __next__(self) -> Exchange:
        exchange = next(self._left)
        self.played += 1
        return exchange


def _classify(
    suspect: Endpoint, triggers: TriggerSet, rounds: tuple[int, ...], tape: _Tape
) -> tuple[ClassIds, tuple[int, ...]]:
    if sum(rounds) != len(triggers):
        raise EvidenceError(f"{sum(rounds)} questions, but {len(triggers)} triggers")
    parts, seen, start = [], [tape.played], 0
    for size in rounds:
        parts.append(suspect.classify(triggers.pixels[start : start + size]))
        seen.append(tape.played)
        start += size
    return np.concatenate(parts), tuple(seen)
