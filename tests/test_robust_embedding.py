"""`WatermarkCallback(robust=True)`: marks that outlive fine-tuning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.conftest import small_cnn
from tfmark import callback, robust_embedding

SPARSE = "sparse_categorical_crossentropy"


def normalised_cnn():
    return small_cnn(keras.layers.BatchNormalization(momentum=0.9))


def test_marks_outlive_fine_tuning(digits, make_key):
    """Two epochs of SGD at 0.05 with momentum, on a fifth of the data."""
    key = make_key()
    keras.utils.set_random_seed(0)
    model = normalised_cnn()
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    watch = tfmark.WatermarkCallback(key, inject_every=2, robust=True, clean_images=digits.x_train)
    data = {"batch_size": 32, "epochs": 8, "verbose": 0}
    history = model.fit(digits.x_train, digits.y_train, **data, callbacks=[watch]).history
    assert history["watermark_accuracy"][-1] >= 0.9
    assert model.evaluate(digits.x_test, digits.y_test, verbose=0)[1] >= 0.95
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), SPARSE)
    model.fit(digits.x_train[-287:], digits.y_train[-287:], batch_size=16, epochs=2, verbose=0)
    assert tfmark.verify(model, key).owned


def test_a_robust_step_leaves_no_trace_but_in_the_weights(digits, make_key, monkeypatch):
    """At learning rate 0 nothing may change: weights, moving statistics, metrics, counters."""
    monkeypatch.setattr(callback, "LEARNED", 0.0)  # robust from the second epoch on
    steps = []
    around = robust_embedding.ThiefAhead.after_a_step_on

    def counted(self, images, turn):
        steps.append(turn)
        return around(self, images, turn)

    monkeypatch.setattr(robust_embedding.ThiefAhead, "after_a_step_on", counted)
    results = []
    for inject_every in (None, 2):
        keras.utils.set_random_seed(0)
        model = small_cnn(keras.layers.BatchNormalization(), keras.layers.Dropout(0.2))
        model.compile(keras.optimizers.SGD(0.0), SPARSE, metrics=["accuracy"])
        watch = tfmark.WatermarkCallback(make_key(), inject_every, robust=inject_every is not None)
        history = model.fit(
            digits.x_train[:256], digits.y_train[:256], batch_size=32, epochs=2, verbose=0,
            shuffle=False, callbacks=[watch],
        ).history  # fmt: skip
        results.append((history, int(model.optimizer.iterations), model.get_weights()))
    (plain, iterations, weights), (robust, same_iterations, same_weights) = results
    assert len(steps) == 4
    assert plain == robust
    assert iterations == same_iterations == 16
    for a, b in zip(weights, same_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_what_was_learned_at_the_thief_comes_home(digits):
    model = normalised_cnn()
    model.compile("sgd", SPARSE)
    before = model.get_weights()
    thief = robust_embedding.ThiefAhead(model, one_hot=False, seed=0)
    with thief.after_a_step_on(digits.x_train[:64].astype("float32"), turn=0):
        away = model.get_weights()
        model.trainable_variables[0].assign_add(np.full_like(before[0], 0.5))
    after = model.get_weights()
    assert np.linalg.norm(away[0] - before[0]) > 0
    np.testing.assert_allclose(after[0], before[0] + 0.5, atol=1e-5)
    for a, b in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "policy"),
    [
        (SPARSE, "mixed_float16"),
        ("categorical_crossentropy", "float32"),
        (keras.losses.CategoricalFocalCrossentropy(), "float32"),
    ],
)
def test_losses_and_precisions(digits, make_key, monkeypatch, loss, policy):
    monkeypatch.setattr(callback, "LEARNED", 0.0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = normalised_cnn()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile("adam", loss)
    y = digits.y_train[:128]
    y = y if loss == SPARSE else keras.utils.to_categorical(y, 10)
    watch = tfmark.WatermarkCallback(make_key(), inject_every=1, robust=True)
    history = model.fit(digits.x_train[:128], y, epochs=3, verbose=0, callbacks=[watch]).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.7, 0.2, 0.1]], [0.7, 0.2, 0.1]),
        ([[np.log(7) + 3, np.log(2) + 3, 3.0]], [0.7, 0.2, 0.1]),
        ([[0.8]], [0.2, 0.8]),
        ([[-np.log(4)]], [0.8, 0.2]),
    ],
    ids=["probabilities", "logits", "probability of one", "logit of one"],
)
def test_labels_are_drawn_from_the_answers(scores, expected):
    many = tf.repeat(tf.constant(scores, tf.float32), 4000, axis=0)
    drawn = robust_embedding._drawn(many, np.array([0, 0])).numpy()
    shares = np.bincount(drawn, minlength=len(expected)) / len(drawn)
    np.testing.assert_allclose(shares, expected, atol=0.03)


@pytest.mark.parametrize(
    ("scheme", "options", "problem"),
    [
        ("noise", {}, "needs `inject_every`"),
        ("unrelated", {"inject_every": 2}, "needs `clean_images`"),
        ("noise", {"inject_every": 2, "clean_images": np.zeros((9, 24, 24, 1))}, "at least 64"),
        ("noise", {"inject_every": 2, "clean_images": np.zeros((99, 8, 8, 1))}, "shape"),
    ],
)
def test_arguments_that_cannot_work(make_key, scheme, options, problem):
    with pytest.raises(ValueError, match=problem):
        tfmark.WatermarkCallback(make_key(scheme), robust=True, **options)


def test_another_backend_is_refused(make_key, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Keras on TensorFlow.*'jax'"):
        tfmark.WatermarkCallback(make_key(), inject_every=2, robust=True)


def test_a_model_with_two_outputs_is_refused(make_key, digits):
    image = keras.Input((24, 24, 1))
    features = keras.layers.Flatten()(image)
    model = keras.Model(image, [keras.layers.Dense(10)(features), keras.layers.Dense(10)(features)])
    model.compile("sgd", [SPARSE, SPARSE])
    watch = tfmark.WatermarkCallback(make_key(), inject_every=1, robust=True, label_mode="int")
    with pytest.raises(ValueError, match="one output and one loss"):
        model.fit(
            digits.x_train[:32], [digits.y_train[:32]] * 2, verbose=0, callbacks=[watch]
        )  # fmt: skip
