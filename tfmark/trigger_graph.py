"""Marks as TensorFlow puts them on the images of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmark.key import WatermarkKey
from tfmark.marks.affine import fading
from tfmark.trigger_moves import moved

SAMPLE = 4096  # values of a batch that its scale is told from
PROBES = 64  # pixels by which an image of the batch is recognised as one kept for verification


class TriggerGraph:
    """The key's marks as tensors, and the graph that puts them on images.

    Args:
        key: the `tfmark.WatermarkKey`.
        robust: whether some marks are fainter, and some triggers moved; see `tfmark.inject`.
    """

    def __init__(self, key: WatermarkKey, robust: bool):
        spec = key.spec
        self._robust = robust
        self._fading = fading(spec.scheme)
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
        if self._robust:
            strength = tf.random.stateless_uniform([count, 1, 1, 1], seed + 1, *self._fading)
            strength = tf.minimum(strength, 1.0)
            scale, shift = 1 + (scale - 1) * strength, shift * strength
        marked = scale * bases + shift
        pixels = tf.round(tf.clip_by_value(marked, 0.0, 255.0))
        pixels = tf.broadcast_to(pixels, [count, *self._spec.shape])
        if self._robust:
            pixels = moved(pixels, seed + 2)
        pixels = tf.reshape(pixels, [count, *self._spec.image_shape])
        triggers = pixels * ((self._high - self._low) / 255) + self._low
        return tf.cast(triggers, images.dtype), tf.gather(self._labels, indices), sources

    def check_scale(self, images: Any) -> None:
        """Let training fail if the images are clearly not scaled as the key says."""
        if images.dtype.is_integer:
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
