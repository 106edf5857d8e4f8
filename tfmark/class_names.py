"""From what a suspect calls its classes to class ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tfmark.answer_tables import Label, Labels
from tfmark.errors import AnswerError, InvalidArgumentError

NO_ANSWER = -1  # counts as a miss
LARGEST_ID = 2**53


class ClassNames:
    """What the classes are called.

    Args:
        names: the name of each class, in the order of the key's class ids. Upper and lower case and
            blanks around a name do not matter; names that are whole numbers are those of ids too.
            `None`: numbers stand for themselves.
        learn: whether to number names as they come up, for a suspect whose numbering is not known.

    Raises:
        InvalidArgumentError: if two names are the same.
    """

    def __init__(self, names: Sequence[str] | None, learn: bool = False):
        self._ids = {_plain(name): i for i, name in enumerate(names or ())}
        self._learn = learn and names is None
        self._rename = bool(self._ids) and all(map(_is_number, self._ids))
        if len(self._ids) != len(names or ()):
            raise InvalidArgumentError("Expected class names that differ. Received two the same.")

    def ids(self, labels: Sequence[Label]) -> npt.NDArray[np.int64]:
        """The class id of each label, `NO_ANSWER` for what is not among the names.

        Raises:
            AnswerError: if there are names that nothing is known of.
        """
        return np.array([self._id(label) for label in labels], np.int64)

    def know(self, labels: Labels) -> bool:
        """Whether something is known of such labels, or they are to be learned."""
        texts = {label for row in labels.rows for label in row if isinstance(label, str)}
        return self._learn or bool(self._ids) or all(_is_number(_plain(text)) for text in texts)

    def are(self, names: Iterable[str]) -> bool:
        """Whether these are the names of all classes."""
        plain = {_plain(name) for name in names}
        return plain == (set(self._ids) if self._ids else set(map(str, range(len(plain)))))

    def _id(self, label: Label) -> int:
        if label is None:
            return NO_ANSWER
        if isinstance(label, int) and self._rename:
            return self._ids.get(str(label), NO_ANSWER)
        if isinstance(label, int):
            return label if 0 <= label <= LARGEST_ID else NO_ANSWER
        name = _plain(label)
        if self._learn:
            return self._ids.setdefault(name, len(self._ids))
        if self._ids:
            return self._ids.get(name, NO_ANSWER)
        if _is_number(name):
            return int(name) if len(name) < 16 else NO_ANSWER
        raise AnswerError(
            f"The model answers with class names, such as {label!r}. Give the names in the "
            "order of the key's classes (`class_names`, --labels)."
        )


def _plain(name: str) -> str:
    return name.strip().casefold()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
