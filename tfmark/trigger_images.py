"""Triggers as images in TensorBoard, for owners who want to see what they train on."""

from __future__ import annotations

import os

from tfmark.key import WatermarkKey

TAG = "watermark_triggers"
DRAWABLE = (1, 3, 4)  # channels that a PNG can have; of others the first is shown


def log_triggers(key: WatermarkKey, folder: str | os.PathLike[str]) -> None:
    """Write one trigger of each mark, on base images that training may mark. All of it is secret.

    Args:
        key: the `WatermarkKey`.
        folder: where TensorBoard looks.
    """
    import tensorflow as tf

    pixels = key.triggers(split="embedding").pixels.reshape(-1, *key.spec.shape)
    shown = pixels if pixels.shape[-1] in DRAWABLE else pixels[..., :1]
    writer = tf.summary.create_file_writer(os.fspath(folder))
    with writer.as_default():
        tf.summary.image(TAG, shown, step=0, max_outputs=len(shown))
    writer.close()
