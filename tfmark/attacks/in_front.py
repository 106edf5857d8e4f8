"""A suspect whose service changes each image before the model sees it."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from tfmark.answers import ClassIds, Scores
from tfmark.attacks.data import as_attack_data
from tfmark.attacks.suspects import suspect_from
from tfmark.endpoints import Endpoint
from tfmark.pixels import Pixels


class InFront:
    """A suspect with a transformation in front of it.

    Example:
    ```python
    >>> suspect = tfmark.endpoint_from("http://localhost:8501/v1/models/digits")
    >>> same = tfmark.attacks.InFront(suspect, tfmark.attacks.BitDepth(7), seed=0)
    >>> isinstance(same, tfmark.Endpoint)
    True
    ```

    Args:
        suspect: what answers, an `Endpoint`.
        transformation: what each image goes through first, an `InputTransformation`.
        seed: of what is random in it.
    """

    def __init__(self, suspect: Endpoint, transformation: InputTransformation, seed: int):
        self._suspect = suspect
        self._transformation = transformation
        self._seed = seed

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        return self._suspect.classify(self._changed(images))

    def scores(self, images: Pixels) -> Scores | None:
        """Scores, if the suspect has any; see `Endpoint`."""
        if not hasattr(self._suspect, "scores"):
            return None
        scores: Scores | None = self._suspect.scores(self._changed(images))
        return scores

    def _changed(self, images: Pixels) -> Pixels:
        changed = [self._change(image) for image in images]
        return np.stack(changed) if changed else images

    def _change(self, image: Pixels) -> Pixels:
        # The same image gets the same noise, in whatever company it is asked.
        draw = np.random.default_rng([self._seed, zlib.crc32(image.tobytes())])
        whole = image if image.ndim == 3 else image[..., np.newaxis]
        return self._transformation.apply(whole, draw).reshape(image.shape)


class InputTransformation(ABC):
    """A change of each image that does not need to know the model. A base class.

    Example:
    ```python
    >>> class Negative(tfmark.attacks.InputTransformation):
    ...     def apply(self, image, draw):
    ...         return 255 - image
    >>> tfmark.verify(Negative()(model, (x_test, y_test)), key).status
    'not shown'
    ```
    """

    def __call__(self, model: Any, data: Any, seed: int = 0) -> InFront:
        """Put it in front of a model.

        Args:
            model: the stolen `keras.Model`, or anything with a method `classify`.
            data: what the attacker has, for the scale of pixels: `(images, labels)`, or an
                `AttackData`.
            seed: of what is random in it. Defaults to 0.

        Returns:
            An `Endpoint`.
        """
        return InFront(suspect_from(model, as_attack_data(data, model)), self, seed)

    @abstractmethod
    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """Change one image.

        Args:
            image: uint8 array of shape (height, width, channels), on the grid of 0..255.
            draw: the source of what is random in it. The same image gets the same.

        Returns:
            A uint8 array of the same shape.
        """
