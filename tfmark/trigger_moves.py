"""Triggers that stand a little aside, for whoever moves images in front of a stolen model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

SHARE = 0.3  # of the triggers of a robust embedding: with more, a new last layer finds fewer marks
PART = 16  # of the shorter side is how far they move, along both sides


def moved(images: Any, seed: Any) -> Any:
    """Move some images by a few pixels, mark and all; the pixels at the border are repeated.

    A convolutional network answers an image as before when it is moved by a pixel or two, but
    it learns a mark at the place where it sees it.

    Args:
        images: tensor of shape (n, height, width, channels).
        seed: int64 tensor of shape (2,).
    """
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    reach = min(height, width) // PART
    if reach == 0:
        return images
    steps = tf.random.stateless_uniform([2, count, 1], seed, -reach, reach + 1, tf.int32)
    aside = tf.random.stateless_uniform([count, 1], seed + 1) < SHARE
    for axis, size, step in ((1, height, steps[0]), (2, width, steps[1])):
        places = tf.clip_by_value(tf.range(size) + tf.where(aside, step, 0), 0, size - 1)
        images = tf.gather(images, places, axis=axis, batch_dims=1)
    return images
