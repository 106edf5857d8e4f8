"""Digits of 8x8 pixels, a key for them, and networks that learn them in seconds."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfmark

SHAPE = (8, 8, 1)


def small_digits():
    """(x_train, y_train, x_test, y_test), pixels from 0 to 255."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


def small_key(number=0, scheme="noise"):
    x_train = small_digits()[0]
    return tfmark.WatermarkKey.generate(
        scheme=scheme, image_shape=SHAPE, num_classes=10, base_images=x_train[:512],
        num_marks=24, secret=number.to_bytes(32, "big"),
    )  # fmt: skip


def stack(activation="softmax", classes=10, norm=True):
    layers = keras.layers
    return [
        layers.Rescaling(1 / 255),
        layers.Conv2D(24, 3, 2, padding="same", use_bias=not norm),
        *([layers.BatchNormalization()] * norm),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(classes, activation=activation, name="scores"),
    ]


def small_network(activation="softmax", classes=10, norm=True):
    return keras.Sequential([keras.Input(SHAPE), *stack(activation, classes, norm)])


def tiny_network(activation="softmax", classes=10):
    layers = keras.layers
    hidden = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(48, activation="relu")]
    scores = layers.Dense(classes, activation=activation, name="scores")
    return keras.Sequential([keras.Input(SHAPE), *hidden, scores])


def fitted(model, key=None, epochs=10, loss="sparse_categorical_crossentropy"):
    """A model of the digits, marked if there is a key."""
    x_train, y_train, *_ = small_digits()
    data = tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(2000, seed=0).batch(32)
    if key is not None:
        data = data.apply(tfmark.inject(key, ratio=0.3, seed=0))
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(data, epochs=epochs, verbose=0, shuffle=False)
    return model
