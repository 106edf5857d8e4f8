"""From what a suspect calls its classes to class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfmark.answer_tables import Label
from tfmark.errors import AnswerError, InvalidArgumentError

NO_ANSWER = -1  # counts as a miss
_LARGEST_ID = 2**53


class ClassNames:
    """What the classes are called.

    Args:
        names: the name of each class, in the order of the key's class ids. Upper and lower case and
            blanks around a name do not matter. `None`: numbers stand for themselves.
        learn: whether to number names as they come up, for a suspect whose numbering is not known.

    Raises:
        InvalidArgumentError: if two names are the same.
    """

    def __init__(self, names: Sequence[str] | None, learn: bool = False):
        self._ids = {_plain(name): i for i, name in enumerate(names or ())}
        self._learn = learn and names is None
        if len(self._ids) != len(names or ()):
            raise InvalidArgumentError("Expected class names that differ. Received two the same.")

    def ids(self, labels: Sequence[Label]) -> npt.NDArray[np.int64]:
        """The class id of each label, `NO_ANSWER` for what is not among the names.

        Raises:
            AnswerError: if there are names that nothing is known of.
        """
        return np.array([self._id(label) for label in labels], np.int64)

    def _id(self, label: Label) -> int:
        if label is None:
            return NO_ANSWER
        if isinstance(label, int):
            return label if 0 <= label <= _LARGEST_ID else NO_ANSWER
        name = _plain(label)
        if self._learn:
            return self._ids.setdefault(name, len(self._ids))
        if self._ids:
            return self._ids.get(name, NO_ANSWER)
        if name.isascii() and name.isdecimal():
            return int(name) if len(name) < 16 else NO_ANSWER
        raise AnswerError(
            f"The model answers with class names, such as {label!r}. Give the names in the "
            "order of the key's classes (`class_names`, --labels)."
        )


def _plain(name: str) -> str:
    return name.strip().casefold()
