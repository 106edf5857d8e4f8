"""Weights of other sizes for the same function, so that fine-tuning moves it less."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from tfmark.errors import InvalidArgumentError
from tfmark.model_chains import followers, has_plain_kernel, is_homogeneous, is_scalable, kernel_of

NORM = 8.0  # of filters in front of batch normalisation: steps turn them 64 times less than at 1
REACH = 3  # kernels in front of one batch normalisation: sizes multiply, and float16 ends at 65504

Factors = dict[str, float]  # of layers by their path


def harden(model: Any) -> Factors:
    """Make fine-tuning move a model less, without changing what the model answers.

    Batch normalisation divides by the size of what it is given. So kernel and bias of the layer in
    front of it can be multiplied by any factor: with the moving statistics multiplied along, the
    model computes what it did. But a step of gradient descent now turns the kernel less, by the
    square of the factor. Fine-tuning at the usual learning rates then leaves the features where
    they are, and the marks with them. ReLU, pooling and dropout may come in between, and up to
    three layers with kernels may share one normalisation.

    What it still moves are the last layer and the few weights of the normalisations. Between the
    last of these and a dense layer with nothing but ReLU, pooling and the like in between, size can
    be shifted from one to the other. It is shifted to where a step on both moves the scores least.

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
        The factor that each kernel was multiplied by, by the path of its layer. Factors are powers
        of two, so that kernels lose no precision.

    Raises:
        InvalidArgumentError: if Keras knows of no layer in the model that batch normalisation
            follows in this way.

    Reference:
        van Laarhoven, "L2 Regularization versus Batch and Weight Normalization", 2017, for the
        effective learning rate of weights that are normalised. Dinh et al., "Sharp Minima Can
        Generalize For Deep Nets", ICML 2017, for sizes shifted across ReLU.
    """
    return _resize(model, lambda layer: NORM / _length(layer), _balance)


def soften(model: Any) -> Factors:
    """Bring the weights of a model back to usual sizes, without changing what it answers.

    Filters in front of batch normalisation get length 1, scales of batch normalisation in front of
    a dense layer size 1: the root of the mean square of both, within a factor of the root of two.

    Example:
    ```python
    tfmark.soften(model)  # it was hardened, and is to learn more
    model.fit(x_train, y_train, epochs=2)
    tfmark.harden(model)
    ```

    Args:
        model: see `tfmark.harden`.

    Returns:
        The factor that each kernel was multiplied by, by the path of its layer.

    Raises:
        InvalidArgumentError: if Keras knows of no layer in the model that batch normalisation
            follows in this way.
    """
    return _resize(model, lambda layer: 1 / _length(layer), lambda _, before: _size(before))


def _resize(
    model: Any,
    in_front: Callable[[Any], float],
    behind: Callable[[Any, Any], float],
) -> Factors:
    """Multiply kernels in front of and behind of batch normalisation as two functions say."""
    factors = {layer.path: _power(in_front(layer)) for layer, *_ in fronts(model)}
    if not factors:
        raise InvalidArgumentError(
            "Expected a built, sequential or functional model in which batch normalisation follows "
            f"a convolution or a dense layer. Received: {type(model).__name__} {model.name!r}"
        )
    factors |= {layer.path: _power(behind(layer, norm)) for layer, norm in heads(model)}
    multiply(model, factors)
    return factors


def multiply(model: Any, factors: Factors) -> None:
    """Multiply kernels by their factors, and what keeps the function along."""
    for layer, between, norm in fronts(model):
        factor = factors[layer.path]
        biases = [each.bias for each in (layer, *between)]
        for variable in (kernel_of(layer), *biases, norm.moving_mean):
            if variable is not None:
                variable.assign(variable.value * factor)
        # What is divided by is the root of the variance and epsilon.
        variance = norm.moving_variance
        variance.assign((variance.value + norm.epsilon) * factor**2 - norm.epsilon)
    for layer, norm in heads(model):
        factor = factors[layer.path]
        layer.kernel.assign(layer.kernel.value * factor)
        for variable in (norm.gamma, norm.beta):
            variable.assign(variable.value / factor)


class Front(NamedTuple):
    """A layer, the normalisation that takes its size away again, and kernels on the way there."""

    layer: Any
    between: list[Any]
    norm: Any


def fronts(model: Any) -> Iterator[Front]:
    """Layers behind which nothing but ReLU, pooling and the like comes before normalisation."""
    for layer, after in followers(model):
        between: list[Any] = []
        for follower in after if is_scalable(layer) else ():
            if isinstance(follower, keras.layers.BatchNormalization):
                yield Front(layer, between, follower)
                break
            if is_scalable(follower) and len(between) + 1 < REACH:
                between.append(follower)
            elif not is_homogeneous(follower):
                break


def heads(model: Any) -> Iterator[tuple[Any, Any]]:
    """Dense layers that are not normalised, each with the batch normalisation it lives on."""
    normalised = {layer.path for layer, *_ in fronts(model)}
    for norm, after in followers(model):
        if isinstance(norm, keras.layers.BatchNormalization) and norm.scale and norm.center:
            head = next((layer for layer in after if not is_homogeneous(layer)), None)
            if not isinstance(head, keras.layers.Dense) or head.path in normalised:
                continue
            if has_plain_kernel(head):
                yield head, norm


def _balance(head: Any, norm: Any) -> float:
    """The factor at which a step on the head moves the scores as far as one on its inputs' scales.

    One moves them by the squares of its inputs, the other by the squares of the kernel. Behind ReLU
    half of what is normalised is left.
    """
    kernel, gamma, beta = map(_array, (head.kernel, norm.gamma, norm.beta))
    inputs = len(kernel) * np.mean(gamma**2 + beta**2) / 2
    weights = np.sum(kernel**2) / kernel.shape[1]
    return float((inputs / weights) ** 0.25) if weights > 0 else 1.0


def _size(norm: Any) -> float:
    return float(np.sqrt(np.mean(_array(norm.gamma) ** 2)))


def _length(layer: Any) -> float:
    """The root of the mean square of the lengths of its filters."""
    kernel = _array(kernel_of(layer))
    filters = kernel.shape[-1]
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        filters *= kernel.shape[-2]
    return math.sqrt(np.sum(kernel**2) / filters)


def _array(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def _power(factor: float) -> float:
    """The nearest power of two; 1 where weights are zero or out of bounds."""
    return 2.0 ** round(math.log2(factor)) if 0 < factor < math.inf else 1.0
