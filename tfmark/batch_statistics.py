"""Batch normalisation of triggers by the statistics of the batch before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np


class BatchStatistics:
    """The statistics by which a model normalised its last batch, for a step on triggers alone.

    A served model normalises a trigger as it does any image. By their own statistics triggers would
    come out otherwise, foreign images most of all, and what is learned there does not hold when the
    model is served. The moving statistics lag behind the weights.

    Values are those of the batch. Gradients are those of normalising triggers by themselves: with
    constants they would run along the lengths of filters, which the next batch undoes.

    Args:
        model: a built `keras.Model`. Its batch normalisations count that Keras' own code computes,
            unless they are frozen.

    Reference:
        Gan et al., "Towards Robust Model Watermark via Reducing Parametric Vulnerability", ICCV
        2023, for triggers that are normalised by clean images.
    """

    def __init__(self, model: Any):
        self._norms = list(_norms(model))
        self._before = self._moving()

    def begin(self) -> None:
        """Say that a batch begins."""
        self._before = self._moving()

    @contextmanager
    def used(self, batches: int) -> Iterator[None]:
        """Normalise by them within a `with` block, and leave moving statistics as they are.

        What was traced before does not change: take a new `train_function`.

        Args:
            batches: number of batches since `begin`, whose mean it is then.
        """
        now = self._moving()
        for norm, old, new in zip(self._norms, self._before, now, strict=True):
            kept = norm.momentum**batches
            if kept < 1:
                mean, variance = (
                    (b - kept * a) / (1 - kept) for a, b in zip(old, new, strict=True)
                )
                _assign(norm, mean, np.maximum(variance, 0))
            vars(norm)["call"] = _normalise(norm)  # in front of the method of its class
        try:
            yield
        finally:
            for norm, values in zip(self._norms, now, strict=True):
                del vars(norm)["call"]
                _assign(norm, *values)

    def _moving(self) -> list[tuple[Any, Any]]:
        return [
            (value_of(norm.moving_mean), value_of(norm.moving_variance)) for norm in self._norms
        ]


def _norms(model: Any) -> Iterator[Any]:
    kind = keras.layers.BatchNormalization
    # Private, but nothing else finds layers inside of a layer of somebody's own.
    for layer in model._flatten_layers():
        if not isinstance(layer, kind) or type(layer).call is not kind.call:
            continue
        if layer.built and layer.trainable and not layer.renorm:
            yield layer


def _normalise(norm: Any) -> Callable[..., Any]:
    ops = keras.ops
    whole = norm.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return whole(inputs, training=training, mask=mask)
        inputs = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axes = [axis for axis in range(inputs.ndim) if axis != norm.axis % inputs.ndim]
        mean, variance = ops.moments(inputs, axes)
        shift, scale = mean - ops.stop_gradient(mean), variance + norm.epsilon
        outputs = ops.batch_normalization(
            inputs,
            ops.cast(norm.moving_mean, inputs.dtype) + shift,
            ops.cast(norm.moving_variance, inputs.dtype) * (scale / ops.stop_gradient(scale)),
            norm.axis, norm.beta, norm.gamma, norm.epsilon,
        )  # fmt: skip
        return ops.cast(outputs, norm.compute_dtype)

    return call


def _assign(norm: Any, mean: Any, variance: Any) -> None:
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)


def value_of(variable: Any) -> Any:
    """A copy of the value of a variable as an array, of a mirrored one as well."""
    return np.copy(variable.numpy())
