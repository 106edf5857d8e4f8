"""From what a model answers to one class id for each image.

Whatever rule is used here, it must not look at the labels: then an innocent suspect still matches
with probability 1/K, and the p-value stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as brief
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.errors import AnswerError

NO_ANSWER = -1  # counts as a miss

ClassIds = npt.NDArray[np.int64]


def class_ids(outputs: Any, num_images: int, num_classes: int, output: str | None) -> ClassIds:
    """Read the class ids out of a model's answer.

    Args:
        outputs: one array, or a mapping from name to array for a model with several outputs. An
            array holds one row for each image: scores or logits of K classes, or one class id. For
            two classes also one score of the second class.
        num_images: number of images that were asked about.
        num_classes: number of classes K of the key.
        output: name of the output to read. `None` takes the only one with K scores, else the only
            one with class ids.

    Returns:
        An int64 array of shape (num_images,): class ids, `NO_ANSWER` where an answer is none (NaN,
        or an id that is no class).

    Raises:
        AnswerError: if the answer has another form.
    """
    if isinstance(outputs, Mapping):
        return _of_several(outputs, num_images, num_classes, output)
    if output is not None:
        raise AnswerError(f"The model has a single output without a name, not {output!r}.")
    rows = _rows(outputs, num_images)
    if rows.shape[1] == num_classes:
        return _highest(rows)
    if rows.shape[1] != 1:
        raise AnswerError(
            f"The model has another number of outputs. Expected {num_classes} scores or one class "
            f"id for each image. Received: {rows.shape[1]} numbers"
        )
    column = rows[:, 0]
    known = column[~np.isnan(column)]
    if num_classes == 2 and not np.isin(known, (0, 1)).all():
        probabilities = bool(((known >= 0) & (known <= 1)).all())
        return _highest(np.stack([np.zeros_like(column), column - 0.5 * probabilities], axis=1))
    return _whole(column, num_classes)


def _of_several(
    outputs: Mapping[str, Any], num_images: int, num_classes: int, output: str | None
) -> ClassIds:
    names = sorted(outputs)
    if output is not None:
        if output not in outputs:
            raise AnswerError(
                f"The model has no output {output!r}. Expected one of {brief(names)}."
            )
        return class_ids(outputs[output], num_images, num_classes, None)
    widths = {}
    for name in names:
        try:
            widths[name] = _rows(outputs[name], num_images).shape[1]
        except AnswerError:
            continue
    for width in (num_classes, 1):
        fits = [name for name, wide in widths.items() if wide == width]
        if len(fits) == 1:
            return class_ids(outputs[fits[0]], num_images, num_classes, None)
    raise AnswerError(
        f"Cannot tell which of the model's outputs {brief(names)} answers with a class. Expected "
        f"one with {num_classes} scores or one with class ids; else name it with `output`."
    )


def _rows(answers: Any, num_images: int) -> npt.NDArray[np.float64]:
    """Answers as a matrix of shape (num_images, numbers for each image)."""
    if not isinstance(answers, np.ndarray):
        _check_numbers(answers)
    try:
        array = np.asarray(answers, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise AnswerError(
            "The answer is not made of numbers, as many for each image as for the next."
        ) from None
    if array.ndim == 0 or len(array) != num_images or array.size == 0:
        received = len(array) if array.ndim else "one number"
        raise AnswerError(
            f"Expected {num_images} answers, one for each image. Received {received}."
        )
    return array.reshape(num_images, -1)


def _check_numbers(answers: Any) -> None:
    """Refuse what NumPy would make numbers of: text and booleans. `null` stands for NaN."""
    pending: list[Any] = [answers]
    while pending:
        item = pending.pop()
        if isinstance(item, Sequence) and not isinstance(item, str):
            pending.extend(item)
        elif isinstance(item, bool) or not isinstance(item, int | float | None):
            raise AnswerError(f"Expected numbers in the answer. Received: {type(item).__name__}")


def _highest(scores: npt.NDArray[np.float64]) -> ClassIds:
    valid = ~np.isnan(scores).any(axis=1)
    return np.where(valid, scores.argmax(axis=1), NO_ANSWER).astype(np.int64)


def _whole(column: npt.NDArray[np.float64], num_classes: int) -> ClassIds:
    valid = np.isin(column, np.arange(num_classes))
    return np.where(valid, column, NO_ANSWER).astype(np.int64)
