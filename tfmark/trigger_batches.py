"""The triggers of a training step of their own, and the clean images beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmark.key import WatermarkKey
from tfmark.marks.affine import fading
from tfmark.triggers import TriggerSet

CLEAN_PER_TRIGGER = 3  # clean images beside each trigger, for the sake of batch normalisation


class TriggerBatches:
    """Batches of triggers. Each follows from its number, so a resumed training goes on.

    Args:
        key: the `tfmark.WatermarkKey`.
        size: number of triggers in a batch.
        faint: whether a few marks are fainter, as by `inject(robust=True)`.
        seed: makes the choice of base images reproducible.
    """

    def __init__(self, key: WatermarkKey, size: int, faint: bool, seed: int):
        self._key = key
        self._size = size
        self._faint = faint
        self._seed = seed
        self._clean = key.clean_images(key.base_images.shape[0] * key.base_images.shape[1])

    def triggers(self, number: int) -> TriggerSet:
        """The triggers of a batch."""
        first, spec = number * self._size, self._key.spec
        indices = np.arange(first, first + self._size) % spec.num_marks
        draw = np.random.default_rng([self._seed, number])
        slots = draw.integers(spec.base_per_group, size=self._size)
        strengths = None
        if self._faint:
            strengths = draw.uniform(*fading(spec.scheme), self._size)
            strengths = strengths.clip(max=1).astype(np.float32)
        return self._key.render(indices, slots, "embedding", strengths)

    def among_clean_images(self, triggers: TriggerSet, number: int) -> tuple[Any, Any]:
        """Triggers in front of clean images, so that batch normalisation sees what it sees in use.

        The labels of the clean images mean nothing.
        """
        count = min(CLEAN_PER_TRIGGER * len(triggers), len(self._clean))
        draw = np.random.default_rng([self._seed, number, 0])
        clean = self._clean[draw.choice(len(self._clean), count, replace=False)]
        labels = np.concatenate([triggers.labels, np.zeros(len(clean), np.int64)])
        return np.concatenate([triggers.images, clean]), labels
