"""Evidence: a verdict, and all that somebody who trusts neither side needs to check it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tfmark.commitment import Commitment
from tfmark.endpoints.dialect import Dialect
from tfmark.evidence.openings import Opening
from tfmark.evidence.same_images import SameImages
from tfmark.evidence.tape import Exchange
from tfmark.pixels import Pixels
from tfmark.spec import Spec
from tfmark.verdict import Verdict

SERVICE, FILE, OBJECT = "service", "file", "object"


@dataclass(frozen=True)
class Asking:
    """Who was asked, and how.

    Attributes:
        kind: "service" (over a network: each exchange is kept), "file" (a model in a file), or
            "object" (in the claimant's program).
        name: address of the service, with "?..." for a query, which may be secret; name of the
            file, or class of the object.
        digest: SHA-256 of the file or folder, in hex; "" where there is none.
        dialect: how the suspect wanted to be asked.
        retries: how often a request was tried again.
        rounds: how many triggers were asked about at once, round by round.
    """

    kind: str
    name: str
    digest: str
    dialect: Dialect
    retries: int
    rounds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CleanImages:
    """Images on which a suspect's classes were aligned with the key's.

    Attributes:
        images: uint8 array of shape (n, *image_shape).
        labels: int64 array of shape (n,), their classes in the key's numbering.
    """

    images: Pixels = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Evidence:
    """A verdict, and what it rests on. Read one with `tfmark.Evidence.load`.

    Attributes:
        version: version of tfmark that made it.
        spec: specification of the key.
        commitment: what the owner published.
        time_stamps: RFC 3161 responses over `commitment.document`.
        num_marks: number of marks, or questions, that could be asked.
        openings: the marks that were asked, opened; all that were left, if they were asked
            thoroughly. No other mark is.
        asking: who was asked, and how.
        answers: class ids as they were read, -1 where there was none: of the ordinary question, one
            for each opening, or the first ones.
        verdict: what was found.
        exchanges: what crossed the wire, in order; none for a file or an object.
        thorough: what the thorough question asked and was answered, if it was put.
        clean: what the classes were aligned on, if they were.
        started: when the asking began, in UTC.
        ended: when it was over.
    """

    version: str
    spec: Spec
    commitment: Commitment
    time_stamps: tuple[bytes, ...]
    num_marks: int
    openings: tuple[Opening, ...]
    asking: Asking
    answers: tuple[int, ...]
    verdict: Verdict
    exchanges: tuple[Exchange, ...]
    thorough: SameImages | None
    clean: CleanImages | None
    started: datetime
    ended: datetime

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Evidence:
        """Read a file of evidence to look inside. Only its form is checked: see `tfmark.audit`.

        Example:
        ```python
        >>> verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key, evidence="e.zip")
        >>> evidence = tfmark.Evidence.load("e.zip")
        >>> evidence.asking.kind, len(evidence.openings) == verdict.queries
        ('service', True)
        ```

        Args:
            path: the file that `tfmark.verify(..., evidence=path)` wrote.

        Returns:
            The `Evidence`.

        Raises:
            EvidenceError: if it is not a file of evidence, or damaged.
            OSError: if it cannot be read.
        """
        from tfmark.evidence.bundle import read_evidence, read_members

        return read_evidence(read_members(path))

    @property
    def first(self) -> int:
        """Index of the first mark that was asked: so many were opened before."""
        return self.openings[0].index
