"""From what a model answers to one class id for each image.

Whatever rule is used here, it must not look at the labels: then an innocent suspect still matches
with probability 1/K, and the p-value stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.answer_tables import Labels, Numbers, Table, paired, read_table, width
from tfmark.class_names import NO_ANSWER, ClassNames
from tfmark.errors import AnswerError

ClassIds = npt.NDArray[np.int64]

MAX_OUTPUTS = 64  # more are not looked through
_LARGEST_ID = 2**53


def class_ids(
    outputs: Any,
    num_images: int,
    num_classes: int | None,
    output: str | None = None,
    names: ClassNames | None = None,
) -> ClassIds:
    """Read the class ids out of a model's answer.

    Args:
        outputs: one array or list, or a mapping from name to such for a model with several outputs.
            It holds one entry for each image: scores or logits of K classes, one class id, one
            class name, or the likeliest few ids or names, with their scores or in order. For two
            classes also one score of the second class.
        num_images: number of images that were asked about.
        num_classes: number of classes K of the key; `None` takes any, in the suspect's numbering.
        output: name of the output to read. `None` takes the only one with K scores, else the only
            one with class ids, with class names, or with the likeliest few, else takes K outputs
            of one score each for those of the classes that they are called after.
        names: what the classes are called.

    Returns:
        An int64 array of shape (num_images,): class ids, `NO_ANSWER` where an answer is none (NaN,
        or an id that is no class).

    Raises:
        AnswerError: if the answer has another form.
    """
    names = names or ClassNames(None)
    if isinstance(outputs, Mapping):
        table = _choose(outputs, num_images, num_classes, output)
    elif output is not None:
        raise AnswerError(f"The model has a single output without a name, not {output!r}.")
    else:
        table = read_table(outputs, num_images)
    ids = names.ids(table.best()) if isinstance(table, Labels) else _of_numbers(table, num_classes)
    if num_classes is None:
        return ids
    return np.where(ids < num_classes, ids, NO_ANSWER)


def _choose(
    outputs: Mapping[str, Any], num_images: int, num_classes: int | None, output: str | None
) -> Table:
    """The output to read of several, by name or by what they hold."""
    known = sorted(outputs, key=str)
    if output is not None:
        if output not in outputs:
            raise AnswerError(
                f"The model has no output {output!r}. Expected one of {known[:MAX_OUTPUTS]}."
            )
        return read_table(outputs[output], num_images)
    if len(outputs) == 1:
        return read_table(next(iter(outputs.values())), num_images)
    if len(outputs) > MAX_OUTPUTS and len(outputs) != num_classes:
        raise AnswerError(f"Cannot tell which of the model's {len(outputs)} outputs to read.")
    tables = []
    for name in known:
        try:
            tables.append(read_table(outputs[name], num_images))
        except AnswerError:
            continue
    numbers = [table for table in tables if isinstance(table, Numbers)]
    labels = [table for table in tables if isinstance(table, Labels)]
    whole = [table for table in numbers if table.whole]
    nominal: list[Table] = [*labels, *whole]
    ranked = [
        paired(these, scores)
        for these in nominal
        for scores in numbers
        if scores is not these and not scores.whole and width(scores) == width(these) > 1
    ]
    scores = [
        table
        for table in numbers
        if width(table) == num_classes
        or (num_classes is None and width(table) > 1 and not table.whole and not ranked)
    ]
    by_class = [_by_class(tables, known)] if len(tables) == len(known) == num_classes else []
    candidates: list[list[Any]] = [
        scores,
        [table for table in whole if width(table) == 1],
        [table for table in labels if width(table) == 1],
        [table for table in numbers if width(table) == 1],
        ranked,
        labels,
        [table for table in by_class if table is not None],
    ]
    for fitting in candidates:
        if len(fitting) == 1:
            chosen: Table = fitting[0]
            return chosen
    raise AnswerError(
        f"Cannot tell which of the model's outputs {known} answers with a class. Expected "
        f"one with {num_classes or 'class'} scores or one with class ids or names; else name it "
        "with `output`."
    )


def _by_class(tables: list[Table], known: list[str]) -> Labels | None:
    """One score for each class, under its name."""
    columns = [table.rows for table in tables if isinstance(table, Numbers) and width(table) == 1]
    if len(columns) != len(known):
        return None
    scores = np.concatenate(columns, axis=1).tolist()
    return Labels([list(known)] * len(scores), scores)


def _of_numbers(table: Numbers, num_classes: int | None) -> ClassIds:
    rows = table.rows
    wide = rows.shape[1]
    if wide == num_classes or (num_classes is None and wide > 1 and not table.whole):
        return _highest(rows)
    if wide == 1:
        return _of_column(rows[:, 0], num_classes)
    if table.whole and all(len(set(row)) == wide for row in rows.tolist()):
        return _whole(rows[:, 0])  # the likeliest few, the likeliest first
    if num_classes is None:
        return _highest(rows)
    raise AnswerError(
        f"The model has another number of outputs. Expected {num_classes} scores or one class "
        f"id for each image. Received: {wide} numbers"
    )


def _of_column(column: npt.NDArray[np.float64], num_classes: int | None) -> ClassIds:
    """Class ids, or scores of the second class of two."""
    known = column[~np.isnan(column)]
    if num_classes == 2 and not np.isin(known, (0, 1)).all():
        probabilities = bool(((known >= 0) & (known <= 1)).all())
        return _highest(np.stack([np.zeros_like(column), column - 0.5 * probabilities], axis=1))
    return _whole(column)


def _highest(scores: npt.NDArray[np.float64]) -> ClassIds:
    valid = ~np.isnan(scores).any(axis=1)
    return np.where(valid, scores.argmax(axis=1), NO_ANSWER).astype(np.int64)


def _whole(column: npt.NDArray[np.float64]) -> ClassIds:
    valid = (column >= 0) & (column <= _LARGEST_ID) & (column == np.floor(column))
    return np.where(valid, column, NO_ANSWER).astype(np.int64)
