"""Suspects that number their classes in another way: which of theirs is which of the key's.

The answer is found on clean labelled images alone, before any trigger is sent. So it cannot depend
on the labels of marks, an innocent suspect still matches each with probability 1/K, and the test
stays exact, however good or bad the alignment is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.answers import ClassIds
from tfmark.class_names import NO_ANSWER
from tfmark.endpoints.base import Endpoint, checked_ids
from tfmark.errors import AnswerError, InvalidArgumentError
from tfmark.pixels import Pixels

WANTED = 20  # clean images of each class


@dataclass(frozen=True)
class Alignment:
    """Which class of the key each class of a suspect is.

    Attributes:
        classes: class of the key for each class of the suspect that came up.
        agreement: share of the clean images that are answered with the class that stands for
            theirs, 0 to 1.
        images: number of clean images.
        one_to_one: whether no class of the key has several of the suspect's.
        unseen: classes of the key that none of the suspect's stands for.
    """

    classes: dict[int, int]
    agreement: float
    images: int
    one_to_one: bool
    unseen: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """How sure the alignment is."""
        kind = "one to one" if self.one_to_one else "several of its classes to one of the key's"
        missing = f"; nothing stands for the classes {list(self.unseen)}" if self.unseen else ""
        return (
            f"The suspect's classes were aligned on {self.images} clean images, {kind}: "
            f"{self.agreement:.1%} of them are answered accordingly{missing}."
        )


class AlignedEndpoint:
    """An endpoint whose answers are brought to the key's classes."""

    def __init__(self, endpoint: Endpoint, alignment: Alignment):
        self._endpoint = endpoint
        self._classes = alignment.classes

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        answers = checked_ids(self._endpoint.classify(images), len(images))
        return np.array([self._classes.get(int(answer), NO_ANSWER) for answer in answers], np.int64)


def align(endpoint: Endpoint, images: Pixels, labels: Any, num_classes: int) -> Alignment:
    """Find out which class of a suspect is which of the key's.

    Each class of the suspect goes to one of the key's so that as many clean images as possible are
    answered with their own: by optimal assignment if the suspect has no more classes than the key
    (Kuhn 1955), else each to the class whose images get it most often.

    Example:
    ```python
    >>> class Shifted:  # a suspect that calls a 0 a 1, a 1 a 2, ...
    ...     def classify(self, images):
    ...         return (model.predict(images, verbose=0).argmax(axis=-1) + 1) % 10
    >>> tfmark.align(Shifted(), x_test, y_test, num_classes=10).classes[3]
    2
    ```

    Args:
        endpoint: the suspect; its class ids may be any numbers from 0 up.
        images: clean images, uint8 of shape (n, *image_shape) on the grid of 0..255.
        labels: their classes, integers of shape (n,), 0 to `num_classes - 1`. Of each class the
            first 20 images are asked about.
        num_classes: number of classes K of the key.

    Returns:
        An `Alignment` with `classes` (the key's class for each of the suspect's), `agreement` (the
        share of the images that are answered accordingly), and `sentence`, in words.

    Raises:
        InvalidArgumentError: if the labels are no such classes.
        EndpointError: if the suspect could not be asked.
        ModuleNotFoundError: if SciPy is not installed.

    Reference:
        Kuhn, "The Hungarian Method for the Assignment Problem", 1955.
    """
    truth = _check(images, labels, num_classes)
    chosen = _some_of_each(truth)
    images, truth = images[chosen], truth[chosen]
    answers = checked_ids(endpoint.classify(images), len(images))
    answered = answers != NO_ANSWER
    if 2 * answered.sum() < len(answers):
        raise AnswerError(
            f"Of {len(answers)} clean images {int((~answered).sum())} got no class for an answer."
        )
    theirs, columns = np.unique(answers[answered], return_inverse=True)
    counts = np.zeros((num_classes, len(theirs)), np.int64)
    np.add.at(counts, (truth[answered], columns), 1)
    pairs = _assign(counts)
    agreeing = sum(int(counts[ours, column]) for column, ours in pairs.items())
    used = list(pairs.values())
    return Alignment(
        classes={int(theirs[column]): ours for column, ours in sorted(pairs.items())},
        agreement=agreeing / len(images),
        images=len(images),
        one_to_one=len(set(used)) == len(used),
        unseen=tuple(sorted(set(range(num_classes)) - set(used))),
    )


def _assign(counts: npt.NDArray[np.int64]) -> dict[int, int]:
    """A class of the key (row) for each class of the suspect (column)."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Aligning classes needs SciPy: pip install 'tfmark[align]'", name=error.name
        ) from None
    num_classes, num_theirs = counts.shape
    if num_theirs > num_classes:
        return {column: int(counts[:, column].argmax()) for column in range(num_theirs)}
    rows, columns = linear_sum_assignment(counts, maximize=True)
    pairs = zip(columns.tolist(), rows.tolist(), strict=True)
    return {column: row for column, row in pairs if counts[row, column] > 0}


def _some_of_each(truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The positions of the first few images of each class, in order."""
    firsts = [np.flatnonzero(truth == label)[:WANTED] for label in np.unique(truth)]
    return np.sort(np.concatenate(firsts))


def _check(images: Pixels, labels: Any, num_classes: int) -> npt.NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.ndim == 2 and 1 in truth.shape:
        truth = truth.ravel()
    if (
        truth.shape != (len(images),)
        or not np.issubdtype(truth.dtype, np.integer)
        or not len(truth)
        or truth.min() < 0
        or truth.max() >= num_classes
    ):
        raise InvalidArgumentError(
            f"Expected a class id from 0 to {num_classes - 1} for each of {len(images)} clean "
            f"images. Received: shape {truth.shape}, dtype {truth.dtype}"
        )
    return truth.astype(np.int64)
