"""Noise on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import as_attack_data
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_positive


@dataclass(frozen=True)
class WeightNoise:
    """Add Gaussian noise to all trainable weights.

    Example:
    ```python
    attacked = tfmark.attacks.WeightNoise(0.2)(model, (x_train, y_train))
    ```

    Args:
        scale: standard deviation of the noise, as a share of the root mean square of the weights
            of each kernel or bias. Defaults to 0.1.
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        copy = copy_of(model, as_attack_data(data, model))
        draw = np.random.default_rng([seed, 2])
        for variable in copy.trainable_variables:
            weights = variable.numpy().astype(np.float64)
            size = self.scale * np.sqrt(np.mean(weights**2))
            variable.assign(weights + size * draw.standard_normal(weights.shape))
        return copy

    def __str__(self) -> str:
        return f"Gaussian, {self.scale:.0%} of each layer's size"
