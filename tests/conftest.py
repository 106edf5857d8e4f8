"""What several tests share: real digits, keys, and one model with a watermark in it."""

import functools

import numpy as np
import pytest

from tfmark import WatermarkKey, datasets


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="session")
def make_key(digits):
    """Make a key for the digits; the same arguments give the same key."""

    @functools.cache
    def make(scheme="noise", number=0, **options):
        return WatermarkKey.generate(
            scheme=scheme,
            image_shape=(24, 24, 1),
            num_classes=10,
            base_images=digits.x_train[:512],
            text="MINE" if scheme == "content" else None,
            secret=number.to_bytes(32, "big"),
            **options,
        )

    return make


def small_cnn(*layers):
    """A small model for the digits."""
    import keras

    return keras.Sequential(
        [
            keras.Input((24, 24, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, 2, padding="same"),
            *layers,
            keras.layers.ReLU(),
            keras.layers.Conv2D(64, 3, 2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def marked(digits, make_key):
    """A model of the digits with the watermark of `make_key()`, and the history of its training."""
    import keras
    import tensorflow as tf

    import tfmark

    keras.utils.set_random_seed(0)
    key = make_key()
    data = tf.data.Dataset.from_tensor_slices((digits.x_train, digits.y_train))
    data = data.shuffle(2000, seed=0).batch(32).apply(tfmark.inject(key, ratio=0.3, seed=0))
    model = small_cnn()
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 30 * int(data.cardinality()))
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    watch = tfmark.WatermarkCallback(key)
    history = model.fit(data, epochs=30, verbose=0, callbacks=[watch], shuffle=False)
    return model, history.history


@pytest.fixture(scope="session")
def innocent(digits):
    """A model of the digits that never saw a mark."""
    import keras

    keras.utils.set_random_seed(1)
    model = small_cnn()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.x_train, digits.y_train, batch_size=32, epochs=8, verbose=0)
    return model


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def small_marked():
    """A small model of digits with the watermark of `small_key()`; no test may change it."""
    import keras

    from tests.small_models import fitted, small_key, small_network

    keras.utils.set_random_seed(0)
    return fitted(small_network(), small_key(), epochs=12)
