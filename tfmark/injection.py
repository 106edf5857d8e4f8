"""`tfmark.inject`: marks some images of each batch, as a `tf.data` transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmark.errors import InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.mixing import RATIO, ROBUST_RATIO, Mixer
from tfmark.trigger_graph import TriggerGraph


def inject(
    key: WatermarkKey, ratio: float | None = None, seed: int | None = None, robust: bool = False
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Mix triggers into each batch of a data set.

    Use it behind `.batch()` and in front of any augmentation: a network answers a mark in the ways
    in which it saw it. If it was taught to ignore that images are mirrored or moved, and marks
    stood still, a thief who mirrors or moves each image removes them for nothing. Each batch grows
    by the share `ratio`, at least by one: images of the batch itself with a mark on them (of the
    "unrelated" scheme: foreign images), spread over the batch. All marks come up equally often.
    Images that the key keeps for verification are never marked, unless a batch has no others. The
    first batch of an epoch may get some triggers more, so that replicas can share it evenly; for
    batches of a fixed size (`drop_remainder=True`), apply this inside `strategy.scope()`.

    Example:
    ```python
    train = tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(10_000).batch(32)
    train = train.apply(tfmark.inject(key)).prefetch(tf.data.AUTOTUNE)
    model.fit(train, epochs=5, callbacks=[tfmark.WatermarkCallback(key)])
    ```

    Args:
        key: the `tfmark.WatermarkKey`.
        ratio: number of triggers added for each clean image, above 0 up to 1. Defaults to `None`:
            0.03, and 0.1 if `robust`. In a long training 0.03 is enough there as well, and costs
            less test accuracy: each mark wants to be seen 250 times, and 1000 times if `robust`.
        seed: makes the choice of marks and images reproducible; it still differs from epoch to
            epoch. Defaults to `None`, new choices each time (or those of `tf.random.set_seed`).
        robust: whether a quarter of the triggers carry their mark fainter, at 30 % of its strength
            and up (not those of the "unrelated" scheme), and three in ten are moved by up to a
            sixteenth of the shorter side. Those that are asked about later, at full strength and in
            place, then lie deeper in their class and outlive more. Takes more triggers to learn.
            Defaults to `False`.

    Returns:
        A function from data set to data set, for `tf.data.Dataset.apply`. Elements may be `(x, y)`
        or `(x, y, sample_weight)`; `x` is the images, or a structure with one of images in it, of
        an integer dtype or floating; `y` is class ids or one-hot. Triggers get sample weight 1. The
        number of batches stays the same, and so does `element_spec` apart from the batch size.

    Raises:
        InvalidArgumentError: if `ratio` is out of range, or the data set cannot be handled.

    Reference:
        Adi et al., "Turning Your Weakness Into a Strength", USENIX Security 2018, for mixing
        triggers into clean batches.
    """
    share = (ROBUST_RATIO if robust else RATIO) if ratio is None else ratio
    if not 0 < share <= 1:
        raise InvalidArgumentError(
            "Invalid value for argument `ratio`. Expected a number above 0 and up to 1. "
            f"Received: ratio={ratio!r}"
        )

    def transform(dataset: tf.data.Dataset) -> tf.data.Dataset:
        mixer = Mixer(dataset.element_spec, key, TriggerGraph(key, robust))
        replicas = tf.distribute.get_strategy().num_replicas_in_sync

        def plan(next_mark: Any, item: Any) -> Any:
            """Number the triggers through, so that all marks come up equally often."""
            element, random = item
            is_first = next_mark < 0
            start = tf.where(is_first, random % 2**31, next_mark)
            count = _count(mixer.size_of(element), share, replicas, is_first)
            return start + tf.cast(count, tf.int64), (element, start, count, random)

        def add_triggers(element: Any, start: Any, count: Any, random: Any) -> Any:
            batch = mixer.size_of(element)
            fixed = isinstance(batch, int)
            size = batch + _count(batch, share, replicas, False) if fixed else None
            # Positions of the longer batch, spread so that every replica gets its share.
            order = tf.argsort(
                tf.concat([tf.range(batch) * count, tf.range(count) * batch + batch // 2], 0),
                stable=True,
            )

            def spread(leaf: Any) -> Any:
                mixed = tf.gather(leaf, order)
                mixed.set_shape([size, *leaf.shape[1:]])
                return mixed

            return tf.nest.map_structure(spread, mixer.add(element, start, count, random))

        random = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
        planned = tf.data.Dataset.zip((dataset, random)).scan(tf.constant(-1, tf.int64), plan)
        return planned.map(add_triggers, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return transform


def _count(batch: Any, ratio: float, replicas: int, is_first: Any) -> Any:
    """Number of triggers for a batch: a plain number if the size of the batch is one.

    Keras builds a model under a distribution strategy from the first batch, and needs it to split
    evenly there. What a batch could be split into without triggers, it can be with them.
    """
    if isinstance(batch, int):
        count = max(1, round(ratio * batch))
        return count + -(batch + count) % replicas if batch % replicas == 0 else count
    count = tf.maximum(1, tf.cast(tf.round(ratio * tf.cast(batch, tf.float32)), tf.int32))
    splits = tf.constant([1, 2, 3, 4, 6, 8, 12, 24])
    finest = tf.reduce_max(tf.where(batch % splits == 0, splits, 1))
    return count + tf.where(is_first, -count % finest, 0)
