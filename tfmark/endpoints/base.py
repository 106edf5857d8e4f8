"""What `verify` needs of a suspect."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfmark.answers import ClassIds
from tfmark.errors import AnswerError
from tfmark.pixels import Pixels


@runtime_checkable
class Endpoint(Protocol):
    """Anything that can be asked: images in, class ids out.

    Write one for a service that tfmark does not speak to yet. It needs this one method.

    Example:
    ```python
    >>> class InMyProgram:
    ...     def classify(self, images):
    ...         return model.predict(images, verbose=0).argmax(axis=-1)
    >>> tfmark.verify(InMyProgram(), key).owned
    True
    ```
    """

    def classify(self, images: Pixels) -> ClassIds:
        """Ask about some images.

        Args:
            images: uint8 array of shape (n, *image_shape), pixels on the grid of 0..255. The
                endpoint scales them as its model expects.

        Returns:
            An int64 array of shape (n,): the class ids, -1 where there was no answer.

        Raises:
            EndpointError: if the suspect could not be asked properly.
        """
        ...


def checked_ids(answers: Any, count: int) -> ClassIds:
    """What an endpoint gave, which may be somebody else's code, as class ids.

    Raises:
        AnswerError: if it is not so many integers.
    """
    try:
        ids = np.asarray(answers)
    except ValueError:
        ids = np.empty(0)
    if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
        raise AnswerError(
            f"Expected {count} class ids of an integer dtype. "
            f"Received: shape {ids.shape}, dtype {ids.dtype}"
        )
    return ids.astype(np.int64)
