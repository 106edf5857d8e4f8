"""Triggers are normalised as the batch before them was, and leave no trace."""

import keras
import numpy as np
import pytest

from tfmark.batch_statistics import BatchStatistics


def normalised(momentum=0.99, channels=3):
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(momentum=momentum)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(channels, 3), norm])
    norm.set_weights([np.full(channels, value, np.float32) for value in (2, 0.5, 0.1, 3)])
    return model, norm


def images(count, mean):
    return np.random.default_rng(count).normal(mean, 1, (count, 6, 6, 1)).astype(np.float32)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("channels", [1, 3])
def test_triggers_are_normalised_as_the_batch_before_them(momentum, channels):
    model, norm = normalised(momentum, channels)
    batch, triggers = images(64, 0), images(8, 5)
    statistics = BatchStatistics(model)
    statistics.begin()
    model(batch, training=True)
    kept = norm.get_weights()
    with statistics.used(1):
        answers = keras.ops.convert_to_numpy(model(triggers, training=True))
    seen, asked = (model.layers[0](x).numpy() for x in (batch, triggers))
    mean, variance = seen.mean((0, 1, 2)), seen.var((0, 1, 2))
    expected = 2 * (asked - mean) / np.sqrt(variance + norm.epsilon) + 0.5
    np.testing.assert_allclose(answers, expected, rtol=1e-2, atol=2e-2)
    for value, before in zip(norm.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(value, before)
    by_themselves = model(triggers, training=True).numpy()
    assert abs(by_themselves.mean() - 0.5) < 1e-3  # as ever, when it is over


def test_of_several_batches_their_mean():
    model, norm = normalised(0.9)
    statistics = BatchStatistics(model)
    statistics.begin()
    for _ in range(3):
        model(images(64, 1), training=True)
    with statistics.used(3):
        mean = norm.moving_mean.numpy()
    seen = model.layers[0](images(64, 1)).numpy()
    np.testing.assert_allclose(mean, seen.mean((0, 1, 2)), rtol=1e-3)


def test_a_step_on_triggers_turns_filters_and_does_not_stretch_them():
    """With the statistics as constants, a gradient would run along the filters' lengths as well."""
    import tensorflow as tf

    model, norm = normalised()
    norm.gamma.assign(np.ones(3))
    kernel = model.layers[0].kernel.value
    triggers, targets = images(32, 2), np.random.default_rng(1).normal(size=(32, 4, 4, 3))
    statistics = BatchStatistics(model)
    statistics.begin()
    model(triggers, training=True)  # the same, so that values and gradients belong together
    with statistics.used(1):
        along = {}
        for constants in (False, True):
            with tf.GradientTape() as tape:
                answers = model(triggers, training=not constants)
                loss = tf.reduce_mean((answers - targets) ** 2)
            gradient = tape.gradient(loss, kernel).numpy()
            assert np.abs(gradient).max() > 1e-3
            along[constants] = np.abs((gradient * kernel.numpy()).sum((0, 1, 2)))
    assert np.all(along[False] < 0.05 * along[True])  # not 0, for the sake of epsilon


def test_frozen_layers_and_layers_of_ones_own_stay_as_they_are():
    class Own(keras.layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs, training=training, mask=mask)

    frozen = keras.layers.BatchNormalization(trainable=False)
    renorm = keras.layers.BatchNormalization(renorm=True)
    model = keras.Sequential([keras.Input((6, 6, 1)), Own(), frozen, renorm])
    statistics = BatchStatistics(model)
    statistics.begin()
    with statistics.used(1):
        assert not any("call" in vars(layer) for layer in model.layers)
