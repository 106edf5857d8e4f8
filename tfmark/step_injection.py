"""Triggers in the training steps of a model, whatever its batches come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfmark.key import WatermarkKey
from tfmark.mixing import Mixer
from tfmark.train_functions import replaced
from tfmark.trigger_dose import TriggerDose
from tfmark.trigger_graph import TriggerGraph


class StepInjection:
    """Adds triggers to the batches that a model's `train_step` is given, as `tfmark.inject` does.

    They count in the loss, and not in the metrics.

    Args:
        model: a compiled `keras.Model`. Its `train_step` must take `(x, y)` or
            `(x, y, sample_weight)`, as Keras' own does.
        key: the `tfmark.WatermarkKey`.
        dose: how many.
        robust: whether some marks are fainter, and some triggers moved.
        seed: makes the choice of images reproducible.
    """

    def __init__(self, model: Any, key: WatermarkKey, dose: TriggerDose, robust: bool, seed: int):
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
