"""Small networks of eight kinds, to be marked and attacked."""

import functools
from typing import NamedTuple

import keras

layers = keras.layers

WIDTHS = {  # and strides of the convolutions of the "strided" network
    "digits": ((24, 2), (48, 2)),
    "mnist": ((24, 2), (48, 2), (64, 1)),
    "mnist-half": ((24, 2), (48, 1), (64, 2)),
    "cifar10": ((32, 2), (64, 2), (128, 1), (128, 2), (128, 1)),
    "cifar10-half": ((32, 1), (48, 2), (96, 2), (96, 1)),
}


of_batches = functools.partial(layers.BatchNormalization, momentum=0.9)


def strided(name, normalisation=of_batches):
    """Convolutions with strides and normalisation, and one dense layer."""
    for width, stride in WIDTHS[name.removesuffix("-augmented")]:
        yield layers.Conv2D(width, 3, stride, padding="same", use_bias=False)
        yield from (normalisation(), layers.ReLU())
    yield layers.Flatten()


def hidden(name):
    """The same, and one more dense layer, with dropout, which nothing normalises."""
    yield from strided(name)
    yield from (layers.Dense(128, activation="relu"), layers.Dropout(0.5))


def vgg(_):
    """Batch normalisation with Keras' defaults, pooling, and dropout behind a dense layer."""
    for width in (16, 32, 64):
        yield from (layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization())
        yield from (layers.ReLU(), layers.MaxPooling2D())
    yield from (layers.Flatten(), layers.Dense(128), layers.BatchNormalization())
    yield from (layers.ReLU(), layers.Dropout(0.5))


def blocks(_):
    """Convolutions in pairs with ReLU of their own, one batch normalisation behind each pair."""
    for width in (24, 48):
        for _ in range(2):
            yield layers.Conv2D(width, 3, padding="same", activation="relu")
        yield from (layers.MaxPooling2D(), layers.BatchNormalization(), layers.Dropout(0.25))
    yield from (layers.Flatten(), layers.Dense(128, activation="relu"))
    yield from (layers.BatchNormalization(), layers.Dropout(0.5))


def plain(_):
    """Pooling and dropout, and no batch normalisation: nothing here can be hardened."""
    for width in (24, 48):
        yield layers.Conv2D(width, 3, padding="same", activation="relu")
        yield layers.MaxPooling2D()
    yield from (layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.5))


def residual(_):
    """Three pairs of convolutions, each added to what went in, and the mean over all places."""
    yield layers.Conv2D(32, 3, padding="same", use_bias=False)
    yield layers.MaxPooling2D()
    yield from (of_batches(), layers.ReLU())
    yield from (Residual(32, 1), Residual(64, 2), Residual(128, 2))
    yield layers.GlobalAveragePooling2D()


class Residual(NamedTuple):
    """Two convolutions beside a shortcut, which is a convolution where the shape changes."""

    width: int
    stride: int

    def __call__(self, x):
        shortcut = x if x.shape[-1] == self.width else self.convolved(x, self.stride, size=1)
        y = layers.ReLU()(self.convolved(x, self.stride))
        return layers.ReLU()(layers.Add()([shortcut, self.convolved(y)]))

    def convolved(self, x, stride=1, size=3):
        y = layers.Conv2D(self.width, size, stride, padding="same", use_bias=False)(x)
        return of_batches()(y)


KINDS = {
    "strided": strided,
    "groups": functools.partial(strided, normalisation=lambda: layers.GroupNormalization(8)),
    "layers": functools.partial(strided, normalisation=layers.LayerNormalization),
    "hidden": hidden,
    "vgg": vgg, "blocks": blocks, "plain": plain, "residual": residual,
}  # fmt: skip


def augmentation():
    """Flips and small shifts, as two layers."""
    return (keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1))


def network(kind, name, shape, classes):
    """A network for images from 0 to 255. That for "cifar10" augments inside."""
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    if name == "cifar10":
        for layer in augmentation():
            x = layer(x)
    for layer in KINDS[kind](name):
        x = layer(x)
    return keras.Model(inputs, layers.Dense(classes, "softmax")(x))
