"""Writes the mark into the weights of a layer while `model.fit` runs (Uchida et al., ICMR 2017)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
from keras import ops

from tfmark.errors import InvalidArgumentError
from tfmark.kernels import is_named, layer_of
from tfmark.key import WatermarkKey
from tfmark.weight_secret import MAX_WEIGHTS, averaged_size, can_hold, check_bits


@keras.saving.register_keras_serializable(package="tfmark")
class WeightMark(keras.regularizers.Regularizer):
    """Regularizer that writes bits of the owner's key into the weights of a layer.

    The kernel is averaged over its filters, and each bit is pulled towards the sign of a secret sum
    of these averages. The loss is the cross-entropy of all bits, times `strength`. It takes dense,
    convolutional and depthwise kernels, any dtype policy, and any Keras backend.

    A model that is saved holds `bits` and `strength`, and nothing of the key. Loaded again it works
    as before, but the regularizer adds nothing until `tfmark.mark_weights` gives it the key again.
    The file also tells which layer has a mark. `mark_weights`, used from the start, leaves no such
    trace.

    Example:
    ```python
    layer = keras.layers.Dense(128, kernel_regularizer=tfmark.WeightMark(key))
    ```

    Args:
        key: the owner's `WatermarkKey`. Defaults to `None`, as in a model that was loaded, which
            adds nothing.
        bits: number of bits, a multiple of 8. The kernel needs at least as many averaged weights:
            256 bits fit into a 3x3 convolution of 29 input channels or a dense layer of 256 inputs.
            Defaults to 256.
        strength: weight of the loss. More withstands more and costs more accuracy. Defaults to
            0.001.
        regularizer: another regularizer of the same weights, added to this one. Defaults to `None`.

    Raises:
        InvalidArgumentError: if an argument cannot work, or, when it is used, if the kernel is too
            small for the bits.

    Reference:
        Uchida et al., "Embedding Watermarks into Deep Neural Networks", ICMR 2017.
    """

    def __init__(
        self,
        key: WatermarkKey | None = None,
        bits: int = 256,
        strength: float = 0.001,
        regularizer: Any = None,
    ):
        if not strength > 0:
            raise InvalidArgumentError(
                "Invalid value for argument `strength`. Expected a number above 0. "
                f"Received: strength={strength!r}"
            )
        self.bits = check_bits(bits)
        self.strength = float(strength)
        self.regularizer = keras.regularizers.get(regularizer)
        self._secret = None if key is None else key.weight_secret
        self._towards: dict[int, Any] = {}

    def __call__(self, x: Any) -> Any:
        """The loss of a kernel.

        Args:
            x: the kernel, a tensor of any shape that can hold the bits.

        Returns:
            A float32 scalar.
        """
        loss = self.strength * self._bit_loss(ops.cast(x, "float32"))
        return loss if self.regularizer is None else loss + self.regularizer(x)

    def get_config(self) -> dict[str, Any]:
        """All but the key.

        Returns:
            A dict of the other arguments, as Keras saves it with a model.
        """
        return {
            "bits": self.bits,
            "strength": self.strength,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }

    def _bit_loss(self, kernel: Any) -> Any:
        if self._secret is None:
            warnings.warn(
                "A weight mark without its key adds nothing; tfmark.mark_weights(model, key) gives "
                "it the key again.",
                stacklevel=2,
            )
            return ops.zeros((), "float32")
        size = averaged_size(kernel.shape)
        if not can_hold(kernel.shape, self.bits):
            raise InvalidArgumentError(
                f"Expected a kernel of {self.bits} to {MAX_WEIGHTS} averaged weights for "
                f"{self.bits} bits. Received: {size}, from a kernel of shape {tuple(kernel.shape)}"
            )
        if size not in self._towards:
            self._towards[size] = self._secret.towards(self.bits, size)
        # The mean times the root of the number of filters varies as a single weight does, so that
        # a wide layer takes the mark as fast as a narrow one.
        means = ops.mean(kernel, axis=-1) * math.sqrt(kernel.shape[-1])
        sums = ops.matmul(ops.reshape(means, (1, size)), ops.cast(self._towards[size], "float32"))
        return ops.sum(ops.softplus(-sums))


def mark_weights(
    model: Any,
    key: WatermarkKey,
    layer: str | None = None,
    bits: int = 256,
    strength: float = 0.001,
) -> str:
    """Put a `WeightMark` on a layer of a model that is built.

    It serves a model made by somebody else's code, and one loaded from a file, to go on training.
    The regularizers that the kernel has stay. Call it before `compile`, or compile again. What is
    saved of the model holds no trace of it.

    Example:
    ```python
    >>> layer = tfmark.mark_weights(model, key)
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> history = model.fit(x_train, y_train, epochs=3, verbose=0)
    >>> tfmark.verify_weights(model, key, layer=layer).owned
    True
    ```

    Args:
        model: a Keras model.
        key: the owner's `WatermarkKey`.
        layer: name of the layer; one with several kernels is marked in the largest. Defaults to
            `None`: the one with the largest convolution of at least two averaged weights for each
            bit, or else with the largest kernel.
        bits: number of bits, a multiple of 8. Defaults to 256.
        strength: weight of the loss. Defaults to 0.001.

    Returns:
        The name of the layer, to note down: `verify_weights` without it looks at all of them.

    Raises:
        InvalidArgumentError: if no such layer can hold the bits.

    Reference:
        Uchida et al., "Embedding Watermarks into Deep Neural Networks", ICMR 2017.
    """
    mark = WeightMark(key, bits, strength)
    able = [
        variable
        for variable in model.trainable_variables
        if can_hold(tuple(variable.shape), bits) and is_named(layer_of(variable), layer)
    ]
    if not able:
        raise InvalidArgumentError(
            f"Expected a trainable layer{'' if layer is None else f' {layer!r}'} with a kernel of "
            f"{bits} to {MAX_WEIGHTS} averaged weights."
        )
    kernel = max(able, key=lambda variable: _fitness(tuple(variable.shape), bits))
    before = kernel.regularizer
    mark.regularizer = before.regularizer if isinstance(before, WeightMark) else before
    kernel.regularizer = mark
    return layer_of(kernel).rpartition("/")[2]


def _fitness(shape: tuple[int, ...], bits: int) -> tuple[bool, int]:
    """Convolutions stay when a thief replaces the head; where there is room, bits get in fast."""
    is_roomy_convolution = len(shape) > 2 and averaged_size(shape) >= 2 * bits
    return is_roomy_convolution, math.prod(shape)
