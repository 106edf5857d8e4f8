"""Magnitude pruning: the smallest weights become zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import as_attack_data
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_share
from tfmark.errors import AttackError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prune:
    """Set the share `sparsity` of the weights, those nearest to zero, to zero.

    Kernels and embeddings are pruned; biases and the few weights of batch normalisation are not.

    Example:
    ```python
    pruned = tfmark.attacks.Prune(0.7)(model, (x_train, y_train))
    ```

    Args:
        sparsity: share of the weights, above 0 up to 1. Defaults to 0.5.
        scope: "global" compares all weights of the model, "layer" those of each kernel by itself.
            Defaults to "global".
        retrain: a `FineTune` that follows, in which pruned weights stay zero. Defaults to `None`.

    Reference:
        Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS
        2015; Zhang et al., ASIACCS 2018, prune without retraining.
    """

    sparsity: float = 0.5
    scope: str = "global"
    retrain: FineTune | None = None

    def __post_init__(self) -> None:
        check_share("sparsity", self.sparsity)
        check_choice("scope", self.scope, "global", "layer")

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        kernels = [variable for variable in copy.trainable_variables if len(variable.shape) > 1]
        if not kernels:
            raise AttackError("The model has no kernels to prune.")
        sizes = [np.abs(kernel.numpy()) for kernel in kernels]
        masks = Masks(kernels, _kept(sizes, self.sparsity, self.scope))
        masks.apply()
        if self.retrain is not None:
            self.retrain.train(copy, model, data, seed, callbacks=[masks])
        return copy

    def __str__(self) -> str:
        what = {"global": "of all weights", "layer": "of each layer"}[self.scope]
        then = "" if self.retrain is None else f", then {self.retrain}"
        return f"{self.sparsity:.0%} {what}{then}"


def _kept(sizes: list[npt.NDArray[Any]], sparsity: float, scope: str) -> list[Mask]:
    """Which weights stay: all but exactly the share that is asked for, however many are equal."""
    if scope == "layer":
        return [_largest(size.ravel(), sparsity).reshape(size.shape) for size in sizes]
    flat = _largest(np.concatenate([size.ravel() for size in sizes]), sparsity)
    ends = np.cumsum([size.size for size in sizes])[:-1]
    parts = np.split(flat, ends)
    return [part.reshape(size.shape) for part, size in zip(parts, sizes, strict=True)]


def _largest(sizes: npt.NDArray[Any], sparsity: float) -> Mask:
    kept = np.ones(len(sizes), np.bool_)
    kept[np.argsort(sizes, kind="stable")[: round(sparsity * len(sizes))]] = False
    return kept


class Masks(keras.callbacks.Callback):
    """Sets pruned weights to zero, again after each step of a training."""

    def __init__(self, kernels: list[Any], kept: list[Mask]):
        super().__init__()
        self._kernels = kernels
        pairs = zip(kept, kernels, strict=True)
        self._kept = [keras.ops.cast(keep, kernel.dtype) for keep, kernel in pairs]

    def apply(self) -> None:
        for kernel, keep in zip(self._kernels, self._kept, strict=True):
            kernel.assign(kernel * keep)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.apply()
