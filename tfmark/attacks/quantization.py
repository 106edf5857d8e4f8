"""Quantisation: smaller numbers for the weights, and for what flows between the layers."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import AttackData, as_attack_data
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_count
from tfmark.endpoints import Endpoint
from tfmark.endpoints.choosing import endpoint_from
from tfmark.endpoints.in_memory import as_inputs
from tfmark.errors import AttackError
from tfmark.pixels import from_pixels


@dataclass(frozen=True)
class QuantizeLiteRT:
    """Convert the model with TensorFlow Lite (LiteRT), as it is done for phones.

    Example:
    ```python
    suspect = tfmark.attacks.QuantizeLiteRT("float16")(model, (x_train, y_train))
    ```

    Args:
        mode: "float16" stores weights in 16 bits; "int8" computes in 8 bits wherever LiteRT can,
            with ranges told from the attacker's images. Defaults to "int8".
        samples: number of images that ranges are told from. Defaults to 300; LiteRT's documentation
            asks for 100 to 500.
    """

    mode: str = "int8"
    samples: int = 300

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, "float16", "int8")
        check_count("samples", self.samples)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Endpoint:
        """Attack a model.

        Args:
            model: the stolen `keras.Model`; it is not changed.
            data: what the attacker has: `(images, labels)`, or an `AttackData`.
            seed: makes it reproducible. Defaults to 0.

        Returns:
            An `Endpoint` that answers as the converted model does.

        Raises:
            AttackError: if the model cannot be converted.
        """
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.tflite"
            try:
                file.write_bytes(self._convert(copy, data, seed, Path(folder) / "saved"))
            except Exception as error:  # whatever the converter raises
                text = " ".join(str(error).split())[:160]
                raise AttackError(f"LiteRT cannot convert this model: {text}") from None
            return endpoint_from(file, value_range=data.value_range)

    def _convert(self, model: Any, data: AttackData, seed: int, folder: Path) -> bytes:
        import tensorflow as tf

        images = from_pixels(data.part(1, seed).pixels[: self.samples], data.value_range)
        # `model.export` would leave augmentation in the model switched on.
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serve",
            lambda images: model(as_inputs(model, images), training=False),
            [keras.InputSpec(images.dtype, (None, *images.shape[1:]))],
        )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.mode == "float16":
            converter.target_spec.supported_types = [tf.float16]
        else:
            converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
        with _quiet():
            return bytes(converter.convert())

    def __str__(self) -> str:
        return {"float16": "LiteRT, float16 weights", "int8": "LiteRT, int8"}[self.mode]


@dataclass(frozen=True)
class QuantizeKeras:
    """Quantise with Keras' own `model.quantize`: the weights of dense and embedding layers.

    Keras leaves convolutions as they are.

    Example:
    ```python
    quantized = tfmark.attacks.QuantizeKeras("int8")(model, (x_train, y_train))
    ```

    Args:
        mode: "int8" or "int4". Defaults to "int8".
    """

    mode: str = "int8"

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, "int8", "int4")

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        copy = copy_of(model, as_attack_data(data, model))
        before = [variable.dtype for variable in copy.variables]
        try:
            with _quiet():
                copy.quantize(self.mode)
        except Exception as error:  # whatever a layer raises
            text = " ".join(str(error).split())[:160]
            raise AttackError(f"Keras cannot quantise this model: {text}") from None
        if before == [variable.dtype for variable in copy.variables]:
            raise AttackError("The model has no layer that Keras can quantise.")
        return copy

    def __str__(self) -> str:
        return f"Keras, {self.mode} dense layers"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning for each layer that stays as it is, or a list of what was saved."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
