"""From what a model answers to one class id for each image.

Whatever rule is used here, it must not look at the labels: then an innocent suspect still matches
with probability 1/K, and the p-value stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.answer_tables import Labels, Numbers, Table, paired, read_table, width
from tfmark.class_names import LARGEST_ID, NO_ANSWER, ClassNames
from tfmark.errors import AnswerError

ClassIds = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

MAX_OUTPUTS = 64  # more are not looked through


class AnswerReader:
    """Reads class ids out of the answers of one model.

    Args:
        num_classes: number of classes K of the key; `None` takes any, in the suspect's numbering.
        output: name of the output to read. `None` takes the only one with K scores, else the only
            one with class ids, with class names, or with the likeliest few, else takes K outputs
            of one score each for those of the classes that they are called after.
        names: what the classes are called.

    Attributes:
        beyond: whether ids came up that are no classes of the key.
    """

    def __init__(
        self,
        num_classes: int | None,
        output: str | None = None,
        names: ClassNames | None = None,
    ):
        self.beyond = False
        self._num_classes = num_classes
        self._output = output
        self._names = names or ClassNames(None)
        self._logits = False  # whether single scores of two classes went beyond 0..1

    def read(self, outputs: Any, num_images: int) -> ClassIds:
        """Read one answer; see `class_ids`."""
        return self._known(self._ids(self._table(outputs, num_images)))

    def scores(self, outputs: Any, num_images: int) -> Scores:
        """Read how likely each class was found, on whatever scale the model has.

        Returns:
            A float64 array of shape (num_images, K), from an answer that tells only the likeliest
            class with 1 for that and 0 for the others; NaN for an image without an answer.

        Raises:
            AnswerError: if the answer has another form.
        """
        table = self._table(outputs, num_images)
        scores = self._scores(table)
        if scores is not None:
            return scores
        return votes(self._known(self._ids(table)), self._num_classes or 0)

    def _table(self, outputs: Any, num_images: int) -> Table:
        if isinstance(outputs, Mapping):
            return self._choose(outputs, num_images)
        return read_table(outputs, num_images)

    def _known(self, ids: ClassIds) -> ClassIds:
        if self._num_classes is None:
            return ids
        self.beyond |= bool((ids >= self._num_classes).any())
        return np.where(ids < self._num_classes, ids, NO_ANSWER)

    def _ids(self, table: Table) -> ClassIds:
        if isinstance(table, Labels):
            return self._names.ids(table.best())
        scores = self._scores(table)
        if scores is not None:
            return _highest(scores)
        rows, classes = table.rows, self._num_classes
        wide = width(table)
        if wide == 1:
            return self._whole(rows[:, 0])
        # Of all classes or the likeliest few, the likeliest first.
        if table.whole and all(len(set(row)) == wide for row in rows.tolist()):
            return self._whole(rows[:, 0])
        if classes is None:
            return _highest(rows)
        raise AnswerError(
            f"The model has another number of outputs. Expected {classes} scores or one class "
            f"id for each image. Received: {wide} numbers"
        )

    def _scores(self, table: Table) -> Scores | None:
        """Scores of all classes, or of those that came up; `None` if it holds something else."""
        if isinstance(table, Labels):
            return None
        rows, classes = table.rows, self._num_classes
        wide = width(table)
        if table.whole and wide > 2 and _are_rankings(rows):
            return None
        if wide == classes or (classes is None and wide > 1 and not table.whole):
            return rows
        return self._of_column(rows[:, 0]) if wide == 1 and not table.whole else None

    def _of_column(self, column: npt.NDArray[np.float64]) -> Scores | None:
        """Scores of two classes, from those of the second one; `None` if they are class ids."""
        known = column[~np.isnan(column)]
        if self._num_classes not in (2, None) or not len(known):
            return None
        self._logits |= bool(((known < 0) | (known > 1)).any())
        if np.isin(known, (0, 1)).all() or (
            self._num_classes is None and (known == np.floor(known)).all()
        ):
            return None
        second = column - 0.5 * (not self._logits)
        return np.stack([-second, second], axis=1)

    def _whole(self, column: npt.NDArray[np.float64]) -> ClassIds:
        valid = (column >= 0) & (column <= LARGEST_ID) & (column == np.floor(column))
        return self._names.ids(
            [int(x) if ok else None for x, ok in zip(column, valid, strict=True)]
        )

    def _choose(self, outputs: Mapping[str, Any], num_images: int) -> Table:
        """The output to read of several, by name or by what they hold."""
        known = sorted(outputs, key=str)
        if self._output is not None:
            if self._output not in outputs:
                raise AnswerError(
                    f"The model has no output {self._output!r}. Expected one of "
                    f"{known[:MAX_OUTPUTS]}."
                )
            return read_table(outputs[self._output], num_images)
        if len(outputs) == 1:
            return read_table(next(iter(outputs.values())), num_images)
        if len(outputs) > MAX_OUTPUTS and len(outputs) != self._num_classes:
            raise AnswerError(f"Cannot tell which of the model's {len(outputs)} outputs to read.")
        tables = {}
        for name in known:
            try:
                tables[name] = read_table(outputs[name], num_images)
            except AnswerError:
                continue
        for fitting in self._candidates(tables, outputs):
            if len(fitting) == 1:
                return fitting[0]
        raise AnswerError(
            f"Cannot tell which of the model's outputs {known} answers with a class. Expected "
            f"one with {self._num_classes or 'class'} scores or one with class ids or names; else "
            "name it with `output`."
        )

    def _candidates(self, tables: Mapping[str, Table], outputs: Any) -> list[Sequence[Table]]:
        """What could be the answer, the likeliest kind first."""
        numbers = [table for table in tables.values() if isinstance(table, Numbers)]
        labels = [table for table in tables.values() if isinstance(table, Labels)]
        whole = [table for table in numbers if table.whole]
        named = [pair for these in labels for pair in _rankings(these, numbers)]
        ranked = [*named, *(pair for these in whole for pair in _rankings(these, numbers))]
        by_class = _by_class(tables) if len(tables) == len(outputs) else None
        scores = [table for table in numbers if self._has_scores(table, bool(ranked))]
        if len({_highest(table.rows).tobytes() for table in scores}) == 1:
            scores = scores[:1]  # such as logits and probabilities, which say the same
        # Names that nothing is known of do no harm if they always come in the same order.
        by_name = [these for these in named if self._names.know(these) or not these.same_order()]
        return [
            [by_class] if by_class is not None and self._names.are(tables) else [],
            by_name,
            scores,
            [table for table in whole if width(table) == 1],
            [table for table in labels if width(table) == 1],
            [table for table in numbers if width(table) == 1],
            ranked,
            labels,
            [by_class] if by_class is not None and self._could_be_classes(len(tables)) else [],
        ]

    def _could_be_classes(self, count: int) -> bool:
        return count > 2 and self._num_classes in (None, count)

    def _has_scores(self, table: Numbers, beside_ranking: bool) -> bool:
        if self._num_classes is None:
            return width(table) > 1 and not table.whole and not beside_ranking
        return width(table) == self._num_classes


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
        num_classes: see `AnswerReader`.
        output: see `AnswerReader`.
        names: see `AnswerReader`.

    Returns:
        An int64 array of shape (num_images,): class ids, `NO_ANSWER` where an answer is none (NaN,
        or an id that is no class).

    Raises:
        AnswerError: if the answer has another form.
    """
    return AnswerReader(num_classes, output, names).read(outputs, num_images)


def votes(ids: ClassIds, num_classes: int) -> Scores:
    """Scores that say no more than class ids do: 1 for the answer, 0 for all other classes.

    Returns:
        A float64 array of shape (n, num_classes), with rows of NaN where there is no answer.
    """
    scores: Scores = np.equal.outer(ids, np.arange(num_classes)).astype(np.float64)
    scores[(ids < 0) | (ids >= num_classes)] = np.nan
    return scores


def _rankings(these: Table, numbers: list[Numbers]) -> list[Labels]:
    """Labels with scores of the same width that came beside them."""
    return [
        paired(these, scores)
        for scores in numbers
        if scores is not these and not scores.whole and width(scores) == width(these) > 1
    ]


def _by_class(tables: Mapping[str, Table]) -> Labels | None:
    """One score for each class, under its name."""
    columns = [t.rows for t in tables.values() if isinstance(t, Numbers) and width(t) == 1]
    if len(columns) != len(tables) or len(columns) < 2:
        return None
    scores = np.concatenate(columns, axis=1).tolist()
    return Labels([list(tables)] * len(scores), scores)


def _are_rankings(rows: npt.NDArray[np.float64]) -> bool:
    """Whether each row has all of 0..n-1, or of 1..n, in some order."""
    in_order = np.sort(rows, axis=1)
    return any((in_order == np.arange(rows.shape[1]) + first).all() for first in (0, 1))


def _highest(scores: npt.NDArray[np.float64]) -> ClassIds:
    valid = ~np.isnan(scores).any(axis=1)
    return np.where(valid, scores.argmax(axis=1), NO_ANSWER).astype(np.int64)
