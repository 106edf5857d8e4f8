"""Fine-pruning: units that ordinary images leave silent go, and the rest is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import AttackData, as_attack_data
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.heads import last_layer
from tfmark.attacks.pruning import Masks
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_share
from tfmark.attacks.training import PREDICTED
from tfmark.endpoints.in_memory import as_inputs
from tfmark.pixels import from_pixels
from tfmark.train_functions import replaced


@dataclass(frozen=True)
class FinePrune:
    """Cut off the units that the attacker's images excite least, then fine-tune.

    What answers triggers and nothing else is silent on ordinary images. The units are those that
    the last layer reads: for a convolution in front of it, its channels at each place, or its
    channels if it is pooled over all places. Those that are cut off stay so.

    Example:
    ```python
    attacked = tfmark.attacks.FinePrune(0.8)(model, (x_train, y_train))
    ```

    Args:
        share: share of the units that is cut off, above 0 up to 1. Defaults to 0.5.
        tuning: the fine-tuning. Its images tell which units are silent. Defaults to `FineTune()`.

    Reference:
        Liu et al., "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
        RAID 2018.
    """

    share: float = 0.5
    tuning: FineTune = field(default_factory=FineTune)

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        head = last_layer(copy, data.num_classes)
        activity = _activity(copy, head, data.part(self.tuning.share, seed))
        silent = np.argsort(activity, kind="stable")[: round(self.share * len(activity))]
        kept = np.ones(head.kernel.shape, np.bool_)
        kept[..., silent, :] = False
        masks = Masks([head.kernel], [kept])
        masks.apply()
        self.tuning.train(copy, model, data, seed, callbacks=[masks])
        return copy

    def __str__(self) -> str:
        return f"{self.share:.0%} of units, then {self.tuning}"


def _activity(model: Any, head: Any, data: AttackData) -> npt.NDArray[Any]:
    """The mean size of each unit that the last layer reads, of shape (units,)."""
    read, sums = head.call, np.zeros(head.kernel.shape[-2])

    def call(units: Any, **context: Any) -> Any:
        sizes = np.abs(keras.ops.convert_to_numpy(units).astype(np.float64))
        sums[:] += sizes.reshape(-1, len(sums)).sum(axis=0)
        return read(units, **context)

    with replaced(head, call=call):
        for images in np.array_split(data.pixels, -(-len(data) // PREDICTED)):
            model(as_inputs(model, from_pixels(images, data.value_range)), training=False)
    return sums / len(data)
