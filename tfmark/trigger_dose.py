"""How many triggers the callback adds to a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfmark.mixing import RATIO, ROBUST_RATIO

SIGHTINGS = 250  # of each mark in a training: fewer are seldom enough
ROBUST_SIGHTINGS = 1000  # more cost test accuracy: docs/robust-embedding-measured.md
MOST = 0.5  # triggers for each clean image, unless told otherwise


class Dose(NamedTuple):
    """So many triggers, but within shares of a batch's images."""

    triggers: int
    least: float  # for each image
    most: float

    def count(self, batch: Any) -> Any:
        """Number of triggers for a batch of so many images: a plain number if that is one."""
        if isinstance(batch, int):
            least, most = (max(1, round(share * batch)) for share in (self.least, self.most))
            return min(max(self.triggers, least), most)
        images = tf.cast(batch, tf.float32)
        shares = tf.cast(tf.round(tf.stack([self.least, self.most]) * images), tf.int32)
        least, most = tf.unstack(tf.maximum(1, shares))
        return tf.clip_by_value(self.triggers, least, most)


class TriggerDose(NamedTuple):
    """The largest of some doses."""

    doses: tuple[Dose, ...]

    def count(self, batch: Any) -> Any:
        """Number of triggers for a batch of so many images: a plain number if that is one."""
        counts = [dose.count(batch) for dose in self.doses]
        return max(counts) if isinstance(batch, int) else tf.reduce_max(tf.stack(counts))


def trigger_dose(
    ratio: float | None, robust: bool, every: int, num_marks: int, steps: int | None
) -> TriggerDose:
    """The dose of every n-th batch.

    Args:
        ratio: triggers for each clean image in the whole training. `None` is 0.03, but so many that
            each mark is seen 250 times, up to 0.5. If `robust`, it is also so many that each mark
            is seen 1000 times, up to 0.1; and 0.1 where the length of the training is not known.
        robust: whether some marks are fainter, and some triggers moved.
        every: n.
        num_marks: number of marks of the key.
        steps: training steps in the whole training, of all replicas; `None` if unknown.
    """

    def dose(sightings: int, least: float, most: float) -> Dose:
        triggers = math.ceil(sightings * num_marks * every / steps) if steps else 0
        return Dose(triggers, min(1.0, least * every), min(1.0, most * every))

    if ratio is not None:
        return TriggerDose((dose(0, ratio, ratio),))
    if not steps:
        usual = ROBUST_RATIO if robust else RATIO
        return TriggerDose((dose(0, usual, usual),))
    enough = dose(SIGHTINGS, RATIO, MOST)
    return TriggerDose(
        (enough, dose(ROBUST_SIGHTINGS, RATIO, ROBUST_RATIO)) if robust else (enough,)
    )
