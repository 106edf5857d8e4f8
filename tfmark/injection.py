"""`tfmark.inject`: marks some images of each batch, as a `tf.data` transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfmark.errors import InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.marks.affine import fading

RATIO, ROBUST_RATIO = 0.03, 0.1  # triggers for each clean image: faint marks take more of them
SAMPLE = 4096  # values of a batch that its scale is told from
PROBES = 64  # pixels by which an image of the batch is recognised as one kept for verification


def inject(
    key: WatermarkKey, ratio: float | None = None, seed: int | None = None, robust: bool = False
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Mix triggers into each batch of a data set.

    Use it behind `.batch()` and behind any augmentation, and before `.prefetch()`. Each batch grows
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
            0.03, and 0.1 if `robust`.
        seed: makes the choice of marks and images reproducible; it still differs from epoch to
            epoch. Defaults to `None`, new choices each time (or those of `tf.random.set_seed`).
        robust: whether a quarter of the triggers carry their mark fainter, at 30 % of its strength
            and up. Those that are asked about later, at full strength, then lie deeper in their
            class and outlive more. Takes more triggers to learn. Marks of the "unrelated" scheme
            stay as they are. Defaults to `False`.

    Returns:
        A function from data set to data set, for `tf.data.Dataset.apply`. Elements may be `(x, y)`
        or `(x, y, sample_weight)`; `x` is the images, or a structure with one of images in it, of
        dtype uint8 or floating; `y` is class ids or one-hot. Triggers get sample weight 1. The
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
        layout = _layout(dataset.element_spec, key)
        marker = _Marker(key, fading(key.spec.scheme) if robust else None)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync

        def plan(next_mark: Any, item: Any) -> Any:
            """Number the triggers through, so that all marks come up equally often."""
            element, random = item
            is_first = next_mark < 0
            start = tf.where(is_first, random % 2**31, next_mark)
            batch = layout.batch_size or tf.shape(tf.nest.flatten(element)[layout.images])[0]
            count = _count(batch, share, replicas, is_first)
            return start + tf.cast(count, tf.int64), (element, start, count, random)

        def add_triggers(element: Any, start: Any, count: Any, random: Any) -> Any:
            leaves = tf.nest.flatten(element)
            images, labels = leaves[layout.images], leaves[layout.labels]
            batch = tf.shape(images)[0]
            marker.check_scale(images)
            triggers, ids, sources = marker.make(images, start, count, random)
            added = {layout.images: triggers, layout.labels: _as_labels(ids, labels, key)}
            if layout.weights is not None:
                shape = tf.concat([[count], tf.shape(leaves[layout.weights])[1:]], 0)
                added[layout.weights] = tf.ones(shape, leaves[layout.weights].dtype)
            # Positions of the longer batch, spread so that every replica gets its share.
            order = tf.argsort(
                tf.concat([tf.range(batch) * count, tf.range(count) * batch + batch // 2], 0),
                stable=True,
            )
            size = layout.batch_size and layout.batch_size + _count(
                layout.batch_size, share, replicas, False
            )
            mixed = []
            for i, leaf in enumerate(leaves):
                extra = added[i] if i in added else tf.gather(leaf, sources)
                joined = tf.gather(tf.concat([leaf, extra], 0), order)
                joined.set_shape([size, *leaf.shape[1:]])
                mixed.append(joined)
            return tf.nest.pack_sequence_as(element, mixed)

        random = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
        planned = tf.data.Dataset.zip((dataset, random)).scan(tf.constant(-1, tf.int64), plan)
        return planned.map(add_triggers, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return transform


class _Layout(NamedTuple):
    """Which of the flattened parts of an element are what, and the batch size if it is fixed."""

    images: int
    labels: int
    weights: int | None
    batch_size: int | None


def _layout(element_spec: Any, key: WatermarkKey) -> _Layout:
    shape = key.spec.image_shape

    def refuse(problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"`tfmark.inject` cannot handle this data set: {problem}. Expected batches of "
            f"(images, labels) or (images, labels, sample_weight) with images of shape "
            f"{(None, *shape)}: apply it behind `.batch()`. Received: {element_spec}"
        )

    if isinstance(element_spec, dict):
        raise refuse("its elements are dicts (with TFDS: `tfds.load(..., as_supervised=True)`)")
    if not (isinstance(element_spec, tuple) and len(element_spec) in (2, 3)):
        raise refuse("its elements are not tuples of two or three")
    x, y, *weights = (tf.nest.flatten(part) for part in element_spec)
    leaves = [*x, *y, *(leaf for part in weights for leaf in part)]
    if not all(isinstance(leaf, tf.TensorSpec) and leaf.shape.rank is not None for leaf in leaves):
        raise refuse("some parts are not dense tensors of a known rank")
    if any(leaf.shape.rank == 0 for leaf in leaves):
        raise refuse("it is not batched")
    fits = [i for i, leaf in enumerate(x) if leaf.shape.is_compatible_with((None, *shape))]
    if len(fits) != 1:
        raise refuse(f"{len(fits)} parts of its inputs have the shape of the key's images")
    images = x[fits[0]]
    if not (images.dtype.is_floating or images.dtype == tf.uint8):
        raise refuse(f"its images are {images.dtype.name}, not uint8 or floating")
    if images.dtype == tf.uint8 and key.value_range != (0, 255):
        raise refuse(f"its images are uint8, but the key's `value_range` is {key.value_range}")
    classes = key.spec.num_classes
    shape_of_one = tuple(y[0].shape[1:]) if len(y) == 1 else None
    if shape_of_one not in ((), (1,), (classes,)):
        raise refuse(f"its labels are not class ids or one-hot vectors of {classes} classes")
    if not (y[0].dtype.is_floating or y[0].dtype.is_integer):
        raise refuse(f"its labels are {y[0].dtype.name}, not numbers")
    if weights and len(weights[0]) != 1:
        raise refuse("it has several sample weights")
    return _Layout(fits[0], len(x), len(x) + 1 if weights else None, images.shape[0])


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


def _as_labels(ids: Any, like: Any, key: WatermarkKey) -> Any:
    if like.shape.rank == 2 and like.shape[1] == key.spec.num_classes:
        return tf.one_hot(ids, key.spec.num_classes, dtype=like.dtype)
    return tf.cast(ids if like.shape.rank == 1 else ids[:, tf.newaxis], like.dtype)


class _Marker:
    """The key's marks as tensors, and the graph that puts them on images."""

    def __init__(self, key: WatermarkKey, fading: tuple[float, float] | None):
        self._fading = fading
        spec = key.spec
        patterns = [mark.pattern for mark in key.marks]
        self._spec = spec
        self._low, self._high = key.value_range
        self._scale = tf.constant(np.stack([pattern.scale for pattern in patterns]))
        self._shift = tf.constant(np.stack([pattern.shift for pattern in patterns]))
        self._labels = tf.constant([mark.label for mark in key.marks])
        self._foreign = spec.scheme == "unrelated"
        kept = spec.num_verification
        if self._foreign:
            self._pool = tf.constant(key.base_images[:, kept:])
        else:
            # Whole numbers below 2**34: exact in float64, which is faster to multiply.
            verification = key.base_images[0, :kept].reshape(kept, -1).astype(np.float64)
            draw = np.random.default_rng(0)
            self._probes = tf.constant(draw.choice(verification.shape[1], PROBES))
            self._weights = tf.constant(draw.integers(1, 1 << 20, PROBES).astype(np.float64))
            self._verification = tf.constant(
                verification[:, self._probes.numpy()] @ self._weights.numpy()
            )

    def make(self, images: Any, start: Any, count: Any, random: Any) -> tuple[Any, Any, Any]:
        """Make `count` triggers, the first of them the `start`-th of all.

        Returns:
            The triggers, their labels, and the positions in the batch of the images they were made
            from (or, of foreign images, beside which they stand).
        """
        seed = tf.stack([random, start])
        numbers = start + tf.range(tf.cast(count, tf.int64))
        indices = tf.cast(numbers % self._spec.num_marks, tf.int32)
        sources = self._choose(images, count, seed)
        if self._foreign:
            slots = tf.random.stateless_uniform(
                [count], seed, maxval=self._pool.shape[1], dtype=tf.int32
            )
            places = tf.stack([indices % self._spec.base_groups, slots], axis=-1)
            bases = tf.cast(tf.gather_nd(self._pool, places), tf.float32)
        else:
            bases = self._to_pixels(tf.gather(images, sources))
        scale, shift = tf.gather(self._scale, indices), tf.gather(self._shift, indices)
        if self._fading:
            strength = tf.random.stateless_uniform([count, 1, 1, 1], seed + 1, *self._fading)
            strength = tf.minimum(strength, 1.0)
            scale, shift = 1 + (scale - 1) * strength, shift * strength
        marked = scale * bases + shift
        pixels = tf.round(tf.clip_by_value(marked, 0.0, 255.0))
        pixels = tf.broadcast_to(pixels, [count, *self._spec.shape])
        pixels = tf.reshape(pixels, [count, *self._spec.image_shape])
        triggers = pixels * ((self._high - self._low) / 255) + self._low
        return tf.cast(triggers, images.dtype), tf.gather(self._labels, indices), sources

    def check_scale(self, images: Any) -> None:
        """Let training fail if the images are clearly not scaled as the key says."""
        if images.dtype == tf.uint8:
            return
        span = self._high - self._low
        values = tf.reshape(images, [-1])
        some = values[:: tf.maximum(1, tf.size(values) // SAMPLE)]
        lowest = tf.cast(tf.reduce_min(some), tf.float32)
        highest = tf.cast(tf.reduce_max(some), tf.float32)
        # Augmentation may overshoot, and a batch may be dark; a wrong scale goes further than that.
        beyond = (lowest < self._low - span / 2) | (highest > self._high + span / 2)
        tiny = (highest > lowest) & (highest - lowest < span / 100)
        expected = f"Expected images with values from {self._low:g} to {self._high:g}, the key's "
        tf.debugging.Assert(
            ~(beyond | tiny), [f"{expected}`value_range`. Received:", lowest, highest]
        )

    def _choose(self, images: Any, count: Any, seed: Any) -> Any:
        """Choose images of the batch at random, those kept for verification last."""
        batch = tf.shape(images)[0]
        ranks = tf.random.stateless_uniform([batch], seed)
        if not self._foreign:
            flat = tf.reshape(images, [batch, -1])
            probes = self._to_pixels(tf.gather(flat, self._probes, axis=1), shaped=False)
            prints = tf.linalg.matvec(tf.cast(tf.round(probes), tf.float64), self._weights)
            kept = tf.reduce_any(prints[:, tf.newaxis] == self._verification, axis=1)
            ranks = ranks - tf.cast(kept, tf.float32)
        order = tf.argsort(ranks, direction="DESCENDING")
        return tf.gather(order, tf.range(count) % batch)

    def _to_pixels(self, images: Any, shaped: bool = True) -> Any:
        pixels = (tf.cast(images, tf.float32) - self._low) * (255 / (self._high - self._low))
        return tf.reshape(pixels, [-1, *self._spec.shape]) if shaped else pixels
