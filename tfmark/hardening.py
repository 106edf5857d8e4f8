"""Weights of other sizes for the same function, so that fine-tuning moves it less."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfmark.dense_tails import Tail, balanced, evened, size_of, tails_of
from tfmark.errors import InvalidArgumentError
from tfmark.model_sizes import Sizes, kernel_of, sizes_of
from tfmark.resizing import Factors, multiply, recompile

LENGTH = 12.0  # of filters in front of normalisation, not 1: steps turn them 144 times less
SCALE = 16.0  # of normalisation in front of those, not 1: steps change it 256 times less

Shift = Callable[[Tail], list[float]]  # gives a factor for each size of a tail


def harden(model: Any) -> Factors:
    """Make fine-tuning move a model less, without changing what the model answers.

    Normalisation, of batches, layers, groups or by the root of the mean square, divides by the size
    of what it is given. So kernel and bias of the layer in front of it can be multiplied by any
    factor: with the moving statistics, or epsilon where there are none, multiplied along, the model
    computes what it did. But a step of gradient descent now turns the kernel less, by the square of
    the factor. The same holds for the scale and offset of the normalisation before that.
    Fine-tuning at the usual learning rates then leaves the features where they are, and the marks
    with them. ReLU, pooling, dropout and shortcuts may come in between, and up to three layers with
    kernels may share one normalisation.

    Epsilon is no weight: a model with normalisation of layers or groups is best kept whole
    (`model.save`). Its weights alone, in a model built anew, lack the epsilon that belongs to them.

    What it still moves are the last normalisation and the dense layers behind it. Where these
    follow with nothing but ReLU, pooling and the like in between, size can be shifted from one to
    the other. It is shifted to where a step on all of them moves the scores least.

    Do it when training is over, as it slows down your own training too; `tfmark.soften` before
    training on. A thief who knows of it can do that as well.

    Example:
    ```python
    >>> watermark = tfmark.WatermarkCallback(key, inject_every=2)
    >>> history = model.fit(x_train, y_train, callbacks=[watermark], verbose=0)
    >>> before = model.predict(x_test, verbose=0)
    >>> factors = tfmark.harden(model)
    >>> bool(np.allclose(model.predict(x_test, verbose=0), before, atol=1e-5))
    True

    ```

    Args:
        model: a built `keras.Model`, sequential or functional, which is changed in place. Models
            inside of it count, also those inside of a subclassed one.

    Returns:
        The factor that each kernel, or scale of normalisation, was multiplied by, by the path
        of its layer. Factors are powers of two, so that no precision is lost.

    Raises:
        InvalidArgumentError: if Keras knows of no layer in the model that normalisation follows in
            this way.

    Reference:
        van Laarhoven, "L2 Regularization versus Batch and Weight Normalization", 2017, for the
        effective learning rate of weights that are normalised. Dinh et al., "Sharp Minima Can
        Generalize For Deep Nets", ICML 2017, for sizes shifted across ReLU.
    """
    return _multiplied(model, hardening_factors(model))


def soften(model: Any) -> Factors:
    """Bring the weights of a model back to usual sizes, without changing what it answers.

    Filters in front of normalisation get length 1, scales of normalisation size 1: the root of the
    mean square of both, within a factor of the root of two. Of dense layers behind the last
    normalisation all get about the same length.

    Example:
    ```python
    tfmark.soften(model)  # it was hardened, and is to learn more
    model.fit(x_train, y_train, epochs=2)
    tfmark.harden(model)
    ```

    Args:
        model: see `tfmark.harden`.

    Returns:
        The factor that each kernel, or scale of normalisation, was multiplied by, by the path
        of its layer.

    Raises:
        InvalidArgumentError: if Keras knows of no layer in the model that normalisation follows in
            this way.
    """
    return _multiplied(model, _factors(model, 1.0, 1.0, evened))


def hardening_factors(model: Any) -> Factors:
    """The factors of `tfmark.harden`, which raises the same."""
    return _factors(model, LENGTH, SCALE, balanced)


def _multiplied(model: Any, factors: Factors) -> Factors:
    """The same factors, when the model has been multiplied by them."""
    multiply(model, factors)
    recompile(model)
    return factors


def _factors(model: Any, length: float, scale: float, shift: Shift) -> Factors:
    """Factors that give kernels a length and scales a size, and shift sizes along tails."""
    factors: Factors = {}
    for sizes in sizes_of(model):
        factors |= _factors_of(sizes, length, scale, shift)
    if not factors:
        raise InvalidArgumentError(
            "Expected a built, sequential or functional model in which normalisation of batches, "
            "layers or groups follows a convolution or a dense layer. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    return factors


def _factors_of(sizes: Sizes, length: float, scale: float, shift: Shift) -> Factors:
    """By what to multiply the kernel, or the scale, of each step between sizes that are free."""
    shifted: dict[int, float] = {}
    for tail in tails_of(sizes):
        shifted |= dict(zip(tail.sizes, map(_power, shift(tail)), strict=True))

    @functools.cache
    def chosen(size: int) -> float:
        if not sizes.fades(size):
            return shifted.get(size, 1.0)
        givers = [step for step in sizes.steps if step.given == size]
        norms = [step.layer for step in givers if step.is_norm]
        if norms:
            return _power(scale / size_of(norms))
        return _power(*(chosen(step.taken) * length / _length(step.layer) for step in givers))

    factors = {}
    for step in sizes.steps:
        before, after = chosen(step.taken), chosen(step.given)
        factor = after if step.is_norm else after / before
        if factor != 1 or sizes.fades(step.given):
            factors[step.layer.path] = factor
    return factors


def _length(layer: Any) -> float:
    """The root of the mean square of the lengths of its filters."""
    kernel = keras.ops.convert_to_numpy(kernel_of(layer)).astype(np.float64)
    filters = kernel.shape[-1]
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        filters *= kernel.shape[-2]
    return math.sqrt(np.sum(kernel**2) / filters) or math.nan


def _power(*factors: float) -> float:
    """The power of two nearest to all of them; 1 where weights are zero or out of bounds."""
    if not all(0 < factor < math.inf for factor in factors):
        return 1.0
    return 2.0 ** round(sum(map(math.log2, factors)) / len(factors))
