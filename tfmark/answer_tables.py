"""Reads what a model answered into tables: one row for each image, of numbers or of labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmark.errors import AnswerError

Label = int | str | None  # a class id, a class name, or no answer

_LABEL_KEYS = ("label", "class", "class_name", "name", "class_id", "id")
_SCORE_KEYS = ("score", "probability", "confidence", "prob")


class Numbers(NamedTuple):
    """Numbers: scores, or class ids.

    Attributes:
        rows: float64 array of shape (n, numbers for each image); NaN where there is none.
        whole: whether they were written as integers.
    """

    rows: npt.NDArray[np.float64]
    whole: bool


class Labels(NamedTuple):
    """Labels, the likeliest first, and how likely they are if that was told."""

    rows: list[list[Label]]
    scores: list[list[float]] | None

    def best(self) -> list[Label]:
        """The likeliest label of each row, `None` where there is no label or a score is NaN."""
        if self.scores is None:
            return [row[0] if row else None for row in self.rows]
        return [_likeliest(*pair) for pair in zip(self.rows, self.scores, strict=True)]

    def same_order(self) -> bool:
        """Whether the order of labels tells nothing: always the same, and scores do not fall."""
        if self.scores is None:
            return False
        falling = all(row == sorted(row, reverse=True) for row in self.scores)
        return all(row == self.rows[0] for row in self.rows) and not falling


Table = Numbers | Labels


def read_table(answers: Any, num_images: int) -> Table:
    """Read one output of a model.

    Args:
        answers: an array or nested lists with one entry for each image: numbers, a text, a list of
            texts, or a list of pairs or objects of a label and a score.
        num_images: number of images that were asked about.

    Raises:
        AnswerError: if the answers have another form or number.
    """
    if isinstance(answers, np.ndarray):
        if answers.ndim == 0 or len(answers) != num_images:
            raise _wrong_number(num_images, len(answers) if answers.ndim else "one number")
        if answers.dtype.kind in "SUO":
            return read_table(_texts(answers.tolist()), num_images)
        return _numbers(answers, answers.dtype.kind in "iu", num_images)
    if not isinstance(answers, list) or len(answers) != num_images:
        received = len(answers) if isinstance(answers, list) else type(answers).__name__
        raise _wrong_number(num_images, received)
    first = next((answer for answer in answers if answer not in (None, [])), None)
    while isinstance(first, list) and len(first) == 1 and not isinstance(first[0], dict):
        (first,) = first
    if isinstance(first, str | dict) or (isinstance(first, list) and first and _is_ranking(first)):
        return _labels(answers)
    if isinstance(first, list) and None in answers:
        missing = [None] * len(first)
        answers = [missing if answer is None else answer for answer in answers]
    return _numbers(answers, _are_whole(answers), num_images)


def paired(labels: Table, scores: Numbers) -> Labels:
    """Labels and their scores that came as two outputs."""
    rows: list[list[Label]] = (
        labels.rows
        if isinstance(labels, Labels)
        else [[None if np.isnan(x) else int(x) for x in row] for row in labels.rows]
    )
    return Labels(rows, scores.rows.tolist())


def width(table: Table) -> int:
    """The number of entries of each row, -1 if rows differ."""
    if isinstance(table, Numbers):
        return int(table.rows.shape[1])
    widths = {len(row) for row in table.rows}
    return widths.pop() if len(widths) == 1 else -1


def _numbers(answers: Any, whole: bool, num_images: int) -> Table:
    try:
        array = np.asarray(answers, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise AnswerError(
            "The answer is not made of numbers, as many for each image as for the next."
        ) from None
    if array.ndim == 0 or len(array) != num_images or array.size == 0:
        raise _wrong_number(num_images, len(array) if array.ndim else "one number")
    sides = [side for side in array.shape[1:] if side != 1]
    if len(sides) == 2 and sides[1] == 2:
        pairs = array.reshape(num_images, *sides)
        if (pairs[..., 0] == np.floor(pairs[..., 0])).all():  # ids and their scores
            return paired(Numbers(pairs[..., 0], True), Numbers(pairs[..., 1], False))
    if len(sides) > 1:
        raise AnswerError(
            f"Expected one row of numbers for each image. Received: one of shape {array.shape[1:]}"
        )
    return Numbers(array.reshape(num_images, -1), whole)


def _wrong_number(expected: int, received: int | str) -> AnswerError:
    return AnswerError(f"Expected {expected} answers, one for each image. Received {received}.")


def _are_whole(answers: list[Any]) -> bool:
    """Whether nested lists hold integers alone. `None` stands for NaN.

    Raises:
        AnswerError: if they hold what NumPy would make numbers of: text and booleans.
    """
    items = answers
    while any(type(item) is list for item in items):
        if not all(type(item) is list for item in items):
            raise AnswerError(
                "The answer is not made of numbers, as many for each image as for the next."
            )
        items = list(itertools.chain.from_iterable(items))
    types = set(map(type, items))
    if strange := types - {int, float, type(None)}:
        names = sorted(each.__name__ for each in strange)
        raise AnswerError(f"Expected numbers in the answer. Received: {', '.join(names)}")
    return float not in types


def _is_ranking(items: list[Any]) -> bool:
    """Whether a list is one of texts, of pairs of a label and a score, or of objects of both."""
    if isinstance(items[0], list):
        return len(items[0]) == 2 and isinstance(items[0][0], str)
    return isinstance(items[0], str | dict)


def _labels(answers: list[Any]) -> Table:
    """Rows of labels, of pairs, or of objects."""
    rows: list[list[Label]] = []
    scores: list[list[float]] = []
    for answer in answers:
        items = answer if isinstance(answer, list) else [] if answer is None else [answer]
        while len(items) == 1 and isinstance(items[0], list) and not _is_ranking(items):
            (items,) = items
        pairs = [_pair(item) for item in items]
        rows.append([label for label, _ in pairs])
        scores.append([score for _, score in pairs if score is not None])
    told = any(scores)
    if told and [len(row) for row in rows] != [len(row) for row in scores]:
        raise AnswerError("Some labels of the answer have a score, and some have none.")
    if told and all(label == "" for row in rows for label in row):
        return _numbers(scores, False, len(answers))  # a signature with scores alone
    return Labels(rows, scores if told else None)


def _pair(item: Any) -> tuple[Label, float | None]:
    """A label and its score, from what stands for them."""
    label, score = item, None
    if isinstance(item, Mapping):
        label = next((item[key] for key in _LABEL_KEYS if key in item), item)
        score = next((item[key] for key in _SCORE_KEYS if key in item), None)
    elif isinstance(item, list) and len(item) == 2:
        label, score = item
    is_label = isinstance(label, str | int | None) and not isinstance(label, bool)
    is_score = isinstance(score, int | float | None) and not isinstance(score, bool)
    if not (is_label and is_score):
        raise AnswerError(
            "Expected labels, or pairs or objects of a label and a score, in the answer. "
            f"Received: {type(item).__name__!r}"
        )
    try:
        return label, None if score is None else float(score)
    except OverflowError:
        return label, float("nan")


def _likeliest(labels: list[Label], scores: list[float]) -> Label:
    if not labels or np.isnan(scores).any():
        return None
    return labels[int(np.argmax(scores))]


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
