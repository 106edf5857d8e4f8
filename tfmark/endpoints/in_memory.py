"""A Keras model in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmark.answers import AnswerReader, ClassIds, Scores, class_ids
from tfmark.errors import AnswerError
from tfmark.pixels import Pixels, ValueRange, from_pixels


class KerasModel:
    """Asks a Keras model in memory.

    Args:
        model: the `keras.Model`.
        value_range: how the model expects pixels to be scaled.
        num_classes: number of classes K of the key, `None` if any will do.
        output: name or position of the output to read, if the model has several. Defaults to
            `None`, the only one with K scores.
    """

    def __init__(
        self,
        model: Any,
        value_range: ValueRange,
        num_classes: int | None,
        output: str | None = None,
    ):
        self._model = model
        self._value_range = value_range
        self._num_classes = num_classes
        self._output = output

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        return class_ids(self._outputs(images), len(images), self._num_classes, self._output)

    def scores(self, images: Pixels) -> Scores:
        """See `Suspect.scores`."""
        reader = AnswerReader(self._num_classes, self._output)
        return reader.scores(self._outputs(images), len(images))

    def _outputs(self, images: Pixels) -> Any:
        inputs = as_inputs(self._model, from_pixels(images, self._value_range))
        try:
            outputs = self._model.predict(inputs, verbose=0)
        except Exception as error:
            raise AnswerError(
                f"The model cannot be asked about images of shape {images.shape[1:]}: "
                f"{type(error).__name__}"
            ) from error
        if isinstance(outputs, list | tuple):
            outputs = {str(i): array for i, array in enumerate(outputs)}
        elif not isinstance(outputs, Mapping) and self._output is not None:
            outputs = {"0": outputs}
        return outputs


def as_inputs(model: Any, images: Any) -> Any:
    """Images in the structure that the model expects: by name, in a list, or as they are."""
    structure = getattr(model, "input", None)
    if isinstance(structure, Mapping) and len(structure) == 1:
        return dict.fromkeys(structure, images)
    return [images] if isinstance(structure, list) and len(structure) == 1 else images
