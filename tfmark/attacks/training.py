"""How an attacker trains: batches, one loss, a fresh optimizer, and reports of how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmark.attacks import progress
from tfmark.attacks.heads import Floats, Head
from tfmark.endpoints.in_memory import as_inputs
from tfmark.pixels import Pixels, ValueRange

MOVED = 0.1  # share of each side, at most
TURNED = 0.04  # of a full turn: 14 degrees
ZOOMED = 0.1  # in or out
PREDICTED = 256  # images a batch that are only asked about


def default_batch_size(count: int) -> int:
    """128 as in the literature; 32 for few images, which would make too few steps."""
    return 128 if count >= 5000 else 32


def train(
    model: Any,
    pixels: Pixels,
    distributions: Floats,
    *,
    head: Head,
    value_range: ValueRange,
    optimizer: Any,
    epochs: int,
    batch_size: int,
    seed: int,
    temperature: float = 1.0,
    transform: Callable[[Any], Any] | None = None,
    augment: bool = False,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train a model, in place.

    Args:
        model: the `keras.Model`.
        pixels: uint8 images.
        distributions: what each is to be answered with, float32 of shape (n, K).
        head: what the model's scores are.
        value_range: how the model expects pixels to be scaled.
        optimizer: a fresh optimizer.
        epochs: number of epochs.
        batch_size: number of images in a batch.
        seed: of the order of the images.
        temperature: by which scores are softened, as `distributions` are.
        transform: of the data set, behind batching.
        augment: whether images are moved, turned and zoomed at random, behind that.
        callbacks: Keras callbacks.
    """
    batches = shuffled(pixels, distributions, value_range, batch_size, seed)
    if transform is not None:
        batches = batches.apply(transform)
    if augment:
        batches = batches.map(_augmenting(seed))  # one after the other, to be the same each time
    batches = batches.map(
        lambda images, rows: (as_inputs(model, images), head.targets(rows)), tf.data.AUTOTUNE
    )
    model.compile(optimizer, head.loss(temperature))
    steps = epochs * int(batches.cardinality())
    model.fit(
        batches.prefetch(tf.data.AUTOTUNE),
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=[*callbacks, _Reporter(steps)],
    )


def _augmenting(seed: int) -> Callable[[Any, Any], tuple[Any, Any]]:
    layers = (
        keras.layers.RandomTranslation(MOVED, MOVED, "nearest", seed=seed),
        keras.layers.RandomRotation(TURNED, "nearest", seed=seed + 1),
        keras.layers.RandomZoom(ZOOMED, None, "nearest", seed=seed + 2),
    )

    def augment(images: Any, rows: Any) -> tuple[Any, Any]:
        whole = images if images.shape.rank == 4 else images[..., tf.newaxis]
        for layer in layers:
            whole = layer(whole, training=True)
        return tf.reshape(whole, tf.shape(images)), rows

    return augment


def shuffled(
    pixels: Pixels, rows: npt.NDArray[Any], value_range: ValueRange, batch_size: int, seed: int
) -> Any:
    """Batches of (images in the scale of the model, rows), in another order each epoch."""
    images, targets = tf.constant(pixels), tf.constant(rows)
    low, high = value_range

    def gather(indices: Any) -> Any:
        scaled = tf.cast(tf.gather(images, indices), tf.float32) * ((high - low) / 255) + low
        return scaled, tf.gather(targets, indices)

    order = tf.data.Dataset.range(len(pixels)).shuffle(len(pixels), seed)
    return order.batch(batch_size).map(gather, tf.data.AUTOTUNE)


def scores_of(model: Any, pixels: Pixels, value_range: ValueRange) -> npt.NDArray[Any]:
    """What a model of one output answers, in order."""
    low, high = value_range
    batches = tf.data.Dataset.from_tensor_slices(pixels).batch(PREDICTED)
    scaled = batches.map(
        lambda images: as_inputs(model, tf.cast(images, tf.float32) * ((high - low) / 255) + low)
    )
    # One element for each batch, also where the structure of the inputs is a list.
    (scores,) = keras.tree.flatten(model.predict(scaled.map(lambda x: (x,)), verbose=0))
    return np.asarray(scores)


class _Reporter(keras.callbacks.Callback):
    def __init__(self, steps: int):
        super().__init__()
        self._steps = steps
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done += 1
        progress.report(self._done / self._steps)
