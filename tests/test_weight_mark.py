"""The mark in the weights: it gets in, it is read back, and what is saved does not give it away."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.conftest import small_cnn
from tfmark import derivation
from tfmark.weight_secret import WeightSecret

SPARSE = "sparse_categorical_crossentropy"


SECRET = int.from_bytes(bytes(range(100, 132)), "big")  # no run of zeros, as other test keys


@pytest.fixture(scope="module")
def key(make_key):
    return make_key(number=SECRET)


def fit(model, digits, epochs=2):
    model.compile("adam", SPARSE, metrics=["accuracy"])
    model.fit(digits.x_train, digits.y_train, batch_size=32, epochs=epochs, verbose=0)
    return model


def network(regularizer=None, policy="float32"):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((24, 24, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, "relu", dtype=policy, name="d", kernel_regularizer=regularizer),
            layers.Dense(10, "softmax", dtype="float32"),
        ]
    )


@pytest.fixture(scope="module")
def written(digits, key):
    """A model with the mark in its layer "d", beside another regularizer."""
    keras.utils.set_random_seed(0)
    mark = tfmark.WeightMark(key, regularizer=keras.regularizers.L2(1e-4))
    return fit(network(mark), digits)


@pytest.fixture(scope="module")
def saved(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.keras"
    written.save(path)
    return path


def test_all_bits_get_in_and_the_model_stays_good(written, saved, key, make_key, digits):
    assert written.evaluate(digits.x_test, digits.y_test, verbose=0)[1] >= 0.93
    for suspect in (written, saved):
        verdict = tfmark.verify_weights(suspect, key)
        assert (verdict.status, verdict.bit_errors) == ("owned", 0)
        assert verdict.layer.endswith("d")
        assert verdict.p_value == verdict.layers * 2.0**-256
        assert "256 of 256" in verdict.sentence
        other = tfmark.verify_weights(suspect, make_key(number=1))
        assert (other.status, other.owned) == ("not shown", False)
    assert not tfmark.verify_weights(network(), key).owned
    named = tfmark.verify_weights(saved, key, layer="d")
    assert (named.layers, named.owned) == (1, True)


def test_chance_gives_what_the_p_value_says(written):
    """Of many keys on real weights: as many wrong bits as of so many coins."""
    means = written.get_layer("d").kernel.numpy().mean(axis=-1).astype(np.float64)
    errors = np.array([
        WeightSecret(i.to_bytes(32, "big"), bytes(32)).errors(64, means) for i in range(1000)
    ])  # fmt: skip
    assert abs(errors.mean() - 32) < 4 * 4 / math.sqrt(1000)
    assert abs(errors.std() - 4) < 0.5
    assert errors.min() > 10


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda **o: keras.layers.Conv2D(8, 3, kernel_regularizer=o["mark"]), (5, 5, 30)),
        (lambda **o: keras.layers.DepthwiseConv2D(3, depthwise_regularizer=o["mark"]), (5, 5, 30)),
        (lambda **o: keras.layers.Dense(1, kernel_regularizer=o["mark"]), (256,)),
    ],
)
def test_kernels_of_all_kinds(key, make, shape):
    model = keras.Sequential([keras.Input(shape), make(mark=tfmark.WeightMark(key))])
    optimizer = keras.optimizers.Adam(0.1)
    mark = model.trainable_variables[0]
    for _ in range(25):
        with tf.GradientTape() as tape:
            loss = tf.add_n(model.losses)
        optimizer.apply([tape.gradient(loss, mark.value)], [mark])
    assert tfmark.verify_weights(model, key).bit_errors == 0


def test_mixed_precision_and_models_of_others(digits, key):
    """A mark put on a built model, of which the file then shows nothing."""
    keras.utils.set_random_seed(0)
    model = network(keras.regularizers.L2(1e-4), policy="mixed_bfloat16")
    plain = model.to_json()
    assert tfmark.mark_weights(model, key, layer="d") == "d"
    fit(model, digits)
    assert tfmark.verify_weights(model, key, layer="d").bit_errors == 0
    assert json.loads(model.to_json())["config"] == json.loads(plain)["config"]
    with pytest.raises(tfmark.TfmarkError, match="trainable layer 'nosuch'"):
        tfmark.mark_weights(model, key, layer="nosuch")


def test_known_answer():
    """The same bits and signs on any machine, for ever."""
    secret = WeightSecret(bytes(range(32)), bytes(32))
    assert np.packbits(secret.bits(64)).tobytes().hex() == "5be9e7ffde269a87"
    signs = secret.towards(64, 3) * (2 * secret.bits(64).view(np.int8) - 1)
    assert (
        np.packbits(signs > 0).tobytes().hex() == "410489ef9fb4c67b7de50780408d84b1aa3ba5e98b1c7465"
    )
    np.testing.assert_array_equal(secret.towards(64, 2), secret.towards(64, 3)[:2])
    assert bytes(range(32)).hex() not in repr(secret)
    assert repr(bytes(range(32))) not in repr(secret)


def test_the_commitment_binds_the_bits(key):
    assert derivation.weight_digest(key.weight_secret.key).hex() == key.public.weights
    assert key.weight_secret.root.hex() == key.commitment


def secrets(key, size):
    """All forms in which the secret could lie in a file."""
    secret = key.weight_secret
    bits = secret.bits(256)
    yield from (key._secret, secret.key, np.packbits(bits).tobytes(), bits.tobytes())
    yield bits.astype(np.float32).tobytes()
    turned = secret.towards(256, size)[:4]
    signs = turned * (2 * bits.view(np.int8) - 1)
    for form in (turned, signs, np.packbits(signs > 0), np.packbits(turned > 0)):
        yield form.tobytes()
        yield form.astype(np.float32).tobytes()


def test_what_is_saved_holds_no_secret(written, saved, key, tmp_path):
    written.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(written, tmp_path / "saved")
    written.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "model.json").write_text(written.to_json())
    files = [saved, *(path for path in tmp_path.rglob("*") if path.is_file())]
    contents = [path.read_bytes() for path in files]  # the archive is not compressed
    assert any(b"WeightMark" in content for content in contents)
    for form in secrets(key, written.get_layer("d").kernel.shape[0]):
        assert not any(form in content for content in contents)
        assert not any(form.hex().encode() in content for content in contents)
    assert not any(key.commitment.encode() in content for content in contents)


def test_training_goes_on_after_loading_once_the_key_is_given(saved, key, digits):
    loaded = keras.models.load_model(saved)
    with pytest.warns(UserWarning, match="mark_weights"):
        loaded.evaluate(digits.x_test[:32], digits.y_test[:32], verbose=0)
    kernel = loaded.get_layer("d").kernel
    kernel.assign(0.05 * np.random.default_rng(0).standard_normal(kernel.shape))
    spoiled = tfmark.verify_weights(loaded, key, layer="d").bit_errors
    tfmark.mark_weights(loaded, key, layer="d")
    assert isinstance(kernel.regularizer.regularizer, keras.regularizers.L2)
    fit(loaded, digits)
    assert spoiled > 0
    assert tfmark.verify_weights(loaded, key, layer="d").bit_errors == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"bits": 12}, "bits"), ({"bits": "8"}, "bits"), ({"bits": 0}, "bits"),
     ({"strength": 0}, "strength"), ({"strength": math.nan}, "strength")],
)  # fmt: skip
def test_arguments_that_cannot_work(key, options, problem):
    with pytest.raises(ValueError, match=f"{problem}.*Expected.*Received"):
        tfmark.WeightMark(key, **options)


def test_a_layer_that_is_too_small_is_named(digits, key):
    model = small_cnn()
    model.layers[1].kernel.regularizer = tfmark.WeightMark(key)
    with pytest.raises(tfmark.TfmarkError, match="256 bits. Received: 9, .* shape"):
        fit(model, digits, epochs=1)
