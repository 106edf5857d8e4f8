"""Triggers in the training steps of a model, whatever its batches come from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfmark.key import WatermarkKey
from tfmark.mixing import RATIO, ROBUST_RATIO, Mixer
from tfmark.train_functions import replaced
from tfmark.trigger_graph import TriggerGraph

SIGHTINGS = 250  # of each mark in a training: fewer are seldom enough
MOST = 0.5  # triggers for each clean image, unless told otherwise


class Dose(NamedTuple):
    """How many triggers go to a batch: a share of its images, but more if that is too few."""

    share: float
    least: int = 0
    most: float = 1.0  # for each image, of the least

    def count(self, batch: Any) -> Any:
        """Of a batch of so many images: a plain number if that is one."""
        if isinstance(batch, int):
            wanted = min(self.least, int(self.most * batch))
            return max(1, round(self.share * batch), wanted)
        images = tf.cast(batch, tf.float32)
        share, most = (tf.cast(f, tf.int32) for f in (tf.round(self.share * images),
                                                      tf.floor(self.most * images)))  # fmt: skip
        return tf.maximum(tf.maximum(1, share), tf.minimum(self.least, most))


def dose(ratio: float | None, robust: bool, every: int, num_marks: int, steps: int | None) -> Dose:
    """How many triggers go to every n-th batch.

    Args:
        ratio: triggers for each clean image in the whole training. `None` is as for
            `tfmark.inject`, or so many that each mark is seen 250 times, but no more than 0.5.
        robust: whether a few marks are fainter.
        every: n.
        num_marks: number of marks of the key.
        steps: training steps in the whole training, of all replicas; `None` if unknown.
    """
    if ratio is not None:
        return Dose(min(1.0, ratio * every))
    least = math.ceil(SIGHTINGS * num_marks * every / steps) if steps else 0
    usual = ROBUST_RATIO if robust else RATIO
    return Dose(min(1.0, usual * every), least, min(1.0, MOST * every))


class StepInjection:
    """Adds triggers to the batches that a model's `train_step` is given, as `tfmark.inject` does.

    They count in the loss, and not in the metrics.

    Args:
        model: a compiled `keras.Model`. Its `train_step` must take `(x, y)` or
            `(x, y, sample_weight)`, as Keras' own does.
        key: the `tfmark.WatermarkKey`.
        dose: how many.
        robust: whether a few marks are fainter.
        seed: makes the choice of images reproducible.
    """

    def __init__(self, model: Any, key: WatermarkKey, dose: Dose, robust: bool, seed: int):
        self._model = model
        self._key = key
        self._dose = dose
        self._graph = TriggerGraph(key, robust)
        self._seed = seed
        self._seen = threading.local()  # each replica is traced in a thread of its own
        with model.distribute_strategy.scope():
            self._next = tf.Variable(
                0, dtype=tf.int64, trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )  # fmt: skip

    def begin(self, number: int) -> None:
        """Say that the next trigger is this one: marks come up in turn, and equally often."""
        self._next.assign(number)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A change for `changed_train_function`."""
        train_step, compute_metrics = self._model.train_step, self._model.compute_metrics

        def with_triggers(data: Any) -> Any:
            return train_step(self._mixed(data))

        def without_triggers(
            x: Any, y: Any, y_pred: Any, sample_weight: Any = None, **rest: Any
        ) -> Any:
            x, y, y_pred, sample_weight = keras.tree.map_structure(
                lambda rows: None if rows is None else rows[: self._seen.images],
                (x, y, y_pred, sample_weight),
            )
            return compute_metrics(x, y, y_pred, sample_weight=sample_weight, **rest)

        with replaced(self._model, train_step=with_triggers, compute_metrics=without_triggers):
            yield

    def _mixed(self, data: Any) -> Any:
        if isinstance(data, tuple):
            data = tuple(part for part in data if part is not None)
        spec = tf.nest.map_structure(tf.type_spec_from_value, data)
        mixer = Mixer(spec, self._key, self._graph)
        images = self._seen.images = mixer.size_of(data)
        count = self._dose.count(images)
        replica = tf.distribute.get_replica_context()
        start = self._next + tf.cast(count * replica.replica_id_in_sync_group, tf.int64)
        self._next.assign_add(tf.cast(count * replica.num_replicas_in_sync, tf.int64))
        return mixer.add(data, start, count, tf.constant(self._seed, tf.int64))
