"""A network for surrogates that are not of the stolen model's architecture."""

from __future__ import annotations

from typing import Any

import keras

from tfmark.pixels import ValueRange

WIDTHS = (32, 64, 96, 96)
SMALLEST = 6  # pixels a side that are still halved


def small_network(shape: tuple[int, ...], num_classes: int, value_range: ValueRange) -> Any:
    """A plain convolutional network with batch normalisation.

    Args:
        shape: (height, width) or (height, width, channels) of one image.
        num_classes: number of classes.
        value_range: how pixels are scaled as they come in.

    Returns:
        A `keras.Model` that gives logits.
    """
    layers = keras.layers
    low, high = value_range
    image = keras.Input(shape)
    x = layers.Rescaling(2 / (high - low), offset=-(high + low) / (high - low))(image)
    if len(shape) == 2:
        x = layers.Reshape((*shape, 1))(x)
    for width in WIDTHS:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        if min(x.shape[1:3]) >= SMALLEST:
            x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(num_classes)(x))
