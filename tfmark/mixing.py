"""Triggers beside the images of a batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmark.batch_layout import batch_layout
from tfmark.key import WatermarkKey
from tfmark.trigger_graph import TriggerGraph

RATIO, ROBUST_RATIO = 0.03, 0.1  # triggers for each clean image: faint marks take more of them


class Mixer:
    """Puts triggers behind the images of batches of one kind.

    Args:
        element_spec: of the batches, as `tf.data.Dataset.element_spec`.
        key: the `tfmark.WatermarkKey`.
        graph: what makes its triggers.

    Raises:
        InvalidArgumentError: if they are no batches of images and labels of the key's.
    """

    def __init__(self, element_spec: Any, key: WatermarkKey, graph: TriggerGraph):
        self.layout = batch_layout(element_spec, key)
        self._graph = graph
        self._num_classes = key.spec.num_classes

    def size_of(self, element: Any) -> Any:
        """Number of images in a batch: a plain number if it is the same for all."""
        return self.layout.batch_size or tf.shape(tf.nest.flatten(element)[self.layout.images])[0]

    def add(self, element: Any, start: Any, count: Any, random: Any) -> Any:
        """Add `count` triggers, the first of them the `start`-th of all.

        Returns:
            A batch of the same structure: what it was, and behind it the triggers. Triggers have
            sample weight 1, and what else belongs to the images they were made from.
        """
        layout, leaves = self.layout, tf.nest.flatten(element)
        images, labels = leaves[layout.images], leaves[layout.labels]
        self._graph.check_scale(images)
        triggers, ids, sources = self._graph.make(images, start, count, random)
        added = {layout.images: triggers, layout.labels: self._as_labels(ids, labels)}
        if layout.weights is not None:
            shape = tf.concat([[count], tf.shape(leaves[layout.weights])[1:]], 0)
            added[layout.weights] = tf.ones(shape, leaves[layout.weights].dtype)
        joined = [
            tf.concat([leaf, added[i] if i in added else tf.gather(leaf, sources)], 0)
            for i, leaf in enumerate(leaves)
        ]
        return tf.nest.pack_sequence_as(element, joined)

    def _as_labels(self, ids: Any, like: Any) -> Any:
        if like.shape.rank == 2 and like.shape[1] == self._num_classes:
            return tf.one_hot(ids, self._num_classes, dtype=like.dtype)
        return tf.cast(ids if like.shape.rank == 1 else ids[:, tf.newaxis], like.dtype)
