"""What `verify` needs of a suspect."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfmark.answers import ClassIds, Scores, votes
from tfmark.errors import AnswerError
from tfmark.pixels import Pixels


@runtime_checkable
class Endpoint(Protocol):
    """Anything that can be asked: images in, class ids out.

    Write one for a service that tfmark does not speak to yet. It needs this one method. For the
    thorough question it may have another one, `scores`, which takes the same images and gives a
    float array of shape (n, num_classes): the higher, the likelier, on any scale. Without it, or
    where it gives `None`, each answer counts as a vote for its class.

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


def checked_scores(endpoint: Endpoint, images: Pixels, num_classes: int) -> Scores:
    """Scores of all classes: those that an endpoint gives, or votes for the classes it answers.

    Returns:
        A float64 array of shape (n, num_classes), NaN where there is no answer.

    Raises:
        AnswerError: if what it gives is of another shape.
        EndpointError: if the suspect could not be asked properly.
    """
    answers = endpoint.scores(images) if hasattr(endpoint, "scores") else None
    if answers is None:
        return votes(checked_ids(endpoint.classify(images), len(images)), num_classes)
    try:
        scores = np.asarray(answers, np.float64)
    except (TypeError, ValueError):
        scores = np.empty(0)
    if scores.shape != (len(images), num_classes):
        raise AnswerError(
            f"Expected scores of {num_classes} classes for each of {len(images)} images. "
            f"Received: shape {scores.shape}"
        )
    return scores
