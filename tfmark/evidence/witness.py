"""Keeps what a third party needs while a suspect is asked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import tfmark
from tfmark.alignment import Alignment
from tfmark.answers import ClassIds, Scores
from tfmark.endpoints.addresses import show
from tfmark.endpoints.base import Endpoint, checked_ids, checked_scores
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect
from tfmark.errors import InvalidArgumentError
from tfmark.evidence.choices import choices, log_tries
from tfmark.evidence.openings import check_size, open_marks
from tfmark.evidence.record import FILE, OBJECT, SERVICE, Asking, CleanImages, Evidence
from tfmark.evidence.same_images import SameImages, check_thorough_size, open_bases
from tfmark.evidence.tape import RecordingConnection
from tfmark.pixels import Pixels
from tfmark.sequential import SequentialTest
from tfmark.verdict import Verdict

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey


class Witness:
    """Sees all that is asked and answered.

    Args:
        key: the owner's key.
        suspect: an address, a file, or an object that is asked in this program.
        dialect: how the suspect is asked.
        connection: how the way to it is taken.
        thorough: whether it may be asked thoroughly. Defaults to `False`.

    Raises:
        EvidenceError: if the key's images are too large for evidence.

    Attributes:
        connection: the same settings; what goes over these connections is kept.
        first: index of the first mark that is asked.
    """

    def __init__(
        self,
        key: WatermarkKey,
        suspect: Any,
        dialect: Dialect,
        connection: Connection,
        thorough: bool = False,
    ):
        check_size(key.spec)
        if thorough:
            check_thorough_size(key.spec)
        self._key, self._suspect, self._dialect = key, suspect, dialect
        self.first = key.records.opened
        address = os.fspath(suspect) if isinstance(suspect, str | os.PathLike) else ""
        self.connection = RecordingConnection.like(connection, address)
        self._rounds: list[int] = []
        self._answers: list[int] = []
        self._scores: list[Scores] = []
        self._started = datetime.now(UTC)

    def log_tries(self, alignment: Alignment | None, thorough: bool = False) -> float:
        """Natural logarithm of the tries that have to be counted; see `choices`.

        Raises:
            InvalidArgumentError: if the scale is one that evidence does not take.
        """
        spec, scale, tape = self._key.spec, self._key.value_range, self.connection.tape
        made = choices(
            self.first, spec.num_classes, scale, self._dialect, alignment, tape, thorough
        )
        return log_tries(made)

    def listen(
        self, endpoint: Endpoint, test: SequentialTest, alignment: Alignment | None
    ) -> Endpoint:
        """The same endpoint, whose answers to triggers are kept, and whose failures are counted."""

        def count() -> None:
            test.log_tries = self.log_tries(alignment)

        count()
        heard = self._rounds, self._answers, self._scores
        return _Heard(endpoint, self._key.spec.num_classes, *heard, count)

    def evidence(
        self, verdict: Verdict, num_marks: int, clean: tuple[Pixels, Any] | None
    ) -> Evidence:
        """Open the marks that were asked, and put all together.

        The key remembers them as opened before they are.

        Raises:
            InvalidArgumentError: if the marks were opened by somebody else meanwhile.
        """
        ended = datetime.now(UTC)
        count = len(self._answers)
        if verdict.thorough is not None:
            count = self._key.spec.num_marks - self.first
        first = self._key.open_next(count)
        if first != self.first:
            raise InvalidArgumentError(
                f"The marks from {self.first} on were opened by another process meanwhile, so this "
                "is no evidence of its own. Ask again."
            )
        kind, name, digest = self._identity()
        return Evidence(
            version=tfmark.__version__,
            spec=self._key.spec,
            commitment=self._key.public,
            time_stamps=self._key.records.time_stamps,
            num_marks=num_marks,
            openings=open_marks(self._key, first, count),
            asking=Asking(
                kind, name, digest, self._dialect, self.connection.retries, tuple(self._rounds)
            ),
            answers=tuple(self._answers),
            verdict=verdict,
            exchanges=tuple(self.connection.tape),
            thorough=None if verdict.thorough is None else self._same_images(),
            clean=None if clean is None else CleanImages(clean[0], _flat(clean[1])),
            started=self._started,
            ended=ended,
        )

    def _same_images(self) -> SameImages:
        return SameImages(open_bases(self._key, self.first), np.stack(self._scores))

    def _identity(self) -> tuple[str, str, str]:
        if not isinstance(self._suspect, str | os.PathLike):
            return OBJECT, type(self._suspect).__name__, ""
        address = os.fspath(self._suspect)
        if "://" in address:
            hidden = "?..." if "?" in address else ""  # it may say which model is meant
            return SERVICE, show(address).rstrip("/") + hidden, ""
        return FILE, Path(address).name, _digest(Path(address))


class _Heard:
    def __init__(
        self,
        endpoint: Endpoint,
        num_classes: int,
        rounds: list[int],
        answers: list[int],
        scores: list[Scores],
        count: Callable[[], None],
    ):
        self._endpoint, self._num_classes = endpoint, num_classes
        self._rounds, self._answers, self._scores = rounds, answers, scores
        self._count = count

    @property
    def remark(self) -> str:
        """See `Suspect.remark`."""
        return str(getattr(self._endpoint, "remark", ""))

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        ids = checked_ids(self._endpoint.classify(images), len(images))
        self._rounds.append(len(images))
        self._answers.extend(np.asarray(ids).tolist())
        self._count()
        return ids

    def scores(self, images: Pixels) -> Scores:
        """See `Endpoint`."""
        scores = checked_scores(self._endpoint, images, self._num_classes)
        self._scores.append(scores)
        return scores


def _flat(labels: Any) -> npt.NDArray[np.int64]:
    return np.asarray(labels).ravel().astype(np.int64)


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' hashes and names, as sha256sum has them."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(inner for inner in path.rglob("*") if inner.is_file())
    lines = [f"{_digest(inner)}  {inner.relative_to(path).as_posix()}\n" for inner in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
