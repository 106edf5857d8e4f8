"""Weight averaging: between the stolen model and a fine-tuned copy, or along a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tfmark.attacks.copies import copy_of, layers_of
from tfmark.attacks.data import AttackData, as_attack_data
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_share
from tfmark.attacks.training import default_batch_size, shuffled
from tfmark.endpoints.in_memory import as_inputs


@dataclass(frozen=True)
class Average:
    """Fine-tune a copy, and average weights.

    The averages of batch normalisation are computed anew afterwards, from the attacker's images.

    Example:
    ```python
    attacked = tfmark.attacks.Average("copy", weight=0.3)(model, (x_train, y_train))
    ```

    Args:
        of: "checkpoints" takes the mean of the weights at the end of each epoch of the second half
            of the fine-tuning; "copy" that of the stolen model and the fine-tuned copy. Defaults to
            "checkpoints".
        tuning: the fine-tuning. Defaults to `FineTune()`.
        weight: of the fine-tuned copy, with `of="copy"`, above 0 up to 1. Defaults to 0.5.

    Reference:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI
        2018, for checkpoints; Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022,
        for the copy.
    """

    of: str = "checkpoints"
    tuning: FineTune = field(default_factory=FineTune)
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_choice("of", self.of, "checkpoints", "copy")
        check_share("weight", self.weight)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        mean = _Mean(self.tuning.epochs // 2)
        self.tuning.train(copy, model, data, seed, callbacks=[mean])
        if self.of == "checkpoints":
            weights = mean.weights
        else:
            pairs = zip(model.get_weights(), copy.get_weights(), strict=True)
            weights = [(1 - self.weight) * a + self.weight * b for a, b in pairs]
        averaged = copy_of(model, data)
        averaged.set_weights(weights)
        _renew_batch_norms(averaged, data.part(self.tuning.share, seed), seed)
        return averaged

    def __str__(self) -> str:
        return {
            "checkpoints": f"mean of epochs: {self.tuning}",
            "copy": f"{self.weight:.0%} tuned: {self.tuning}",
        }[self.of]


class _Mean(keras.callbacks.Callback):
    """The mean of the weights over the epochs from `first` on."""

    def __init__(self, first: int):
        super().__init__()
        self.weights: list[Any] = []
        self._first = first

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = self.model.get_weights()
        count = epoch - self._first + 1
        if count == 1:
            self.weights = now
        elif count > 1:
            pairs = zip(self.weights, now, strict=True)
            self.weights = [a + (b - a) / count for a, b in pairs]


def _renew_batch_norms(model: Any, data: AttackData, seed: int) -> None:
    """Set the moving averages to the mean over all batches, as stochastic weight averaging does."""
    norms = [
        layer
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    size = default_batch_size(len(data))
    rows = np.zeros(len(data), np.float32)
    for number, (images, _) in enumerate(shuffled(data.pixels, rows, data.value_range, size, seed)):
        for norm in norms:
            norm.momentum = number / (number + 1)
        model(as_inputs(model, images), training=True)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
