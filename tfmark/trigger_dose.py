"""How many triggers the callback adds to a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfmark.mixing import RATIO, ROBUST_RATIO

SIGHTINGS = 250  # of each mark in a training: fewer are seldom enough
MOST = 0.5  # triggers for each clean image, unless told otherwise


class TriggerDose(NamedTuple):
    """A share of a batch's images, but more if that is too few."""

    share: float
    least: int = 0
    most: float = 1.0  # for each image, of the least

    def count(self, batch: Any) -> Any:
        """Number of triggers for a batch of so many images: a plain number if that is one."""
        if isinstance(batch, int):
            least = min(self.least, int(self.most * batch))
            return max(1, least, round(self.share * batch))
        images = tf.cast(batch, tf.float32)
        least = tf.minimum(self.least, tf.cast(self.most * images, tf.int32))
        return tf.maximum(tf.maximum(1, least), tf.cast(tf.round(self.share * images), tf.int32))


def trigger_dose(
    ratio: float | None, robust: bool, every: int, num_marks: int, steps: int | None
) -> TriggerDose:
    """The dose of every n-th batch.

    Args:
        ratio: triggers for each clean image in the whole training. `None` is as many as for
            `tfmark.inject`, but so many that each mark is seen 250 times, up to 0.5.
        robust: whether a few marks are fainter.
        every: n.
        num_marks: number of marks of the key.
        steps: training steps in the whole training, of all replicas; `None` if unknown.
    """
    if ratio is not None:
        return TriggerDose(min(1.0, ratio * every))
    least = math.ceil(SIGHTINGS * num_marks * every / steps) if steps else 0
    usual = ROBUST_RATIO if robust else RATIO
    return TriggerDose(min(1.0, usual * every), least, min(1.0, MOST * every))
