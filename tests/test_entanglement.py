"""`WatermarkCallback(robust=True)`: triggers share what the last layer reads with their class."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.conftest import small_cnn
from tfmark.attacks import FineTune
from tfmark.entanglement import Entanglement
from tfmark.train_functions import changed_train_function

SPARSE = "sparse_categorical_crossentropy"
layers = keras.layers


def network(*stack):
    keras.utils.set_random_seed(0)
    stack = stack or [layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((24, 24, 1)), layers.Rescaling(1 / 255), *stack])
    model.compile(keras.optimizers.Adam(1e-3), SPARSE, metrics=["accuracy"])
    return model


def fitted(model, digits, key, robust=True, epochs=1, labels=lambda y: y, **options):
    x, y = digits.x_train[:320].astype("float32"), labels(digits.y_train[:320])
    watch = [tfmark.WatermarkCallback(key, robust=robust)] if key else []
    return model.fit(x, y, epochs=epochs, verbose=0, shuffle=False, callbacks=watch, **options)


def weights_of(model):
    return np.concatenate([weights.ravel() for weights in model.get_weights()])


# What hardening says of models without batch normalisation is none of these tests' business.
pytestmark = pytest.mark.filterwarnings("ignore:With `robust=True`. cannot be hardened")


@pytest.mark.slow
def test_marks_outlive_a_new_last_layer(digits, make_key, monkeypatch):
    monkeypatch.setattr("tfmark.trigger_moves.SHARE", 0.0)  # what entanglement does by itself
    attack = FineTune(
        layers="last", reinitialise=True, labels="predicted", learning_rate=0.05, epochs=20, share=1
    )
    marks, accuracy, verdicts = {}, {}, {}
    for robust in (False, True):
        keras.utils.set_random_seed(0)
        data = tf.data.Dataset.from_tensor_slices((digits.x_train, digits.y_train)).batch(32)
        watermark = tfmark.WatermarkCallback(make_key(), robust=robust)
        model = small_cnn()
        model.compile("adam", SPARSE)
        data = data.shuffle(100, 0).apply(tfmark.inject(make_key(), ratio=0.3, robust=robust))
        model.fit(data, epochs=20, verbose=0, shuffle=False, callbacks=[watermark])
        assert watermark.watermark_accuracy() > 0.9
        attacked = attack(model, (digits.x_train, digits.y_train))
        watermark.set_model(attacked)
        marks[robust] = watermark.watermark_accuracy()
        scores = attacked.predict(digits.x_test, verbose=0)
        accuracy[robust] = np.mean(scores.argmax(axis=1) == digits.y_test)
        verdicts[robust] = tfmark.verify(attacked, make_key()).status
    assert min(accuracy.values()) > 0.9
    assert marks[True] > marks[False] + 0.3
    assert verdicts[True] == "owned"


def test_the_loss_is_that_of_cosines_with_the_means_of_classes():
    """Checked by finite differences: with no loss of its own, a model moves along it alone."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(8, 5)).astype("float32"), np.array([0, 1, 2, 0, 1, 2, 0, 2])
    weights = np.array([1, 1, 1, 2, 1, 0.5, 1, 0], np.float32)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(1e-3), lambda y, scores: 0 * keras.ops.sum(scores, -1))
    kernel = model.layers[0].get_weights()[0].astype(np.float64)
    model.train_function = changed_train_function(model, [Entanglement(model, 3).in_place])
    model.train_on_batch(x, y, sample_weight=weights)
    moved = (kernel - model.layers[0].get_weights()[0]) / 1e-3

    features = x @ kernel
    means = np.stack([np.average(features[y == k], 0, weights[y == k]) for k in range(3)])
    centre = np.average(features, axis=0, weights=weights)

    def loss(kernel):
        a, b = x @ kernel - centre, means - centre
        cosines = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
        logits = cosines / 0.1
        entropies = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), y]
        return 3 * np.sum(weights * entropies) / 8

    for i, j in ((0, 0), (3, 2), (4, 3)):
        step = np.zeros_like(kernel)
        step[i, j] = 1e-5
        slope = (loss(kernel + step) - loss(kernel - step)) / 2e-5
        assert moved[i, j] == pytest.approx(slope, rel=0.02, abs=1e-3)
    np.testing.assert_array_equal(model.layers[1].get_weights()[1], 0)  # it is not for the head


def test_the_loss_that_training_reports_is_the_models_own(digits, make_key):
    """At learning rate 0 a training must report what it reports without."""
    histories = []
    for robust in (False, True):
        model = network()
        model.optimizer.learning_rate = 0.0
        history = fitted(model, digits, make_key(), robust, epochs=2).history
        histories.append({name: history[name] for name in ("loss", "accuracy")})
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-5)
    assert histories[0]["accuracy"] == histories[1]["accuracy"]


def test_a_training_after_it_is_as_ever(digits, make_key):
    trained, other = network(), network()
    for model in (trained, other):
        model.compile(keras.optimizers.SGD(0.01), SPARSE)
    fitted(trained, digits, make_key())
    other.set_weights(trained.get_weights())
    for model in (trained, other):
        fitted(model, digits, None)
    np.testing.assert_allclose(weights_of(trained), weights_of(other), atol=1e-6)


def one_hot(y):
    return keras.utils.to_categorical(y, 10)


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        (lambda y: y[:, None], SPARSE),
        (one_hot, "categorical_crossentropy"),
        (one_hot, keras.losses.CategoricalCrossentropy(label_smoothing=0.0)),
    ],
)
def test_labels_may_come_in_each_form_that_keras_takes(digits, make_key, labels, loss):
    results = []
    for form, of in ((lambda y: y, SPARSE), (labels, loss)):
        model = network()
        model.compile(keras.optimizers.Adam(1e-3), of)
        fitted(model, digits, make_key(), labels=form)
        results.append(weights_of(model))
    np.testing.assert_allclose(*results, atol=1e-4)


def entangled_apart(make, digits, key):
    """How far two trainings come out apart that differ by entanglement alone."""
    ends = []
    for robust in (False, True):
        model = make()
        fitted(model, digits, key, robust)
        ends.append(weights_of(model))
    return np.abs(ends[0] - ends[1]).max()


@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {"steps_per_execution": 5}, {"jit_compile": True}]
)
def test_it_goes_however_keras_runs_a_step(digits, make_key, options):
    def make():
        model = network()
        model.compile(keras.optimizers.SGD(0.01), SPARSE, **options)
        return model

    assert entangled_apart(make, digits, make_key()) > 1e-3


def test_it_goes_in_mixed_precision(digits, make_key):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert entangled_apart(network, digits, make_key()) > 1e-3
    finally:
        keras.config.set_dtype_policy("float32")


class Own(keras.Model):
    """A subclassed model with a training step and a loss of its own, as Keras' guides show them."""

    def __init__(self):
        super().__init__()
        self.body = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten()])
        self.hidden, self.scores = layers.Dense(32, "relu"), layers.Dense(10, "softmax")

    def call(self, inputs):
        return self.scores(self.hidden(self.body(inputs)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 2 * super().compute_loss(x, y, y_pred, sample_weight)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def test_a_model_with_a_training_step_of_its_own(digits, make_key):
    def make():
        keras.utils.set_random_seed(0)
        model = Own()
        model.compile(keras.optimizers.SGD(0.01), SPARSE)
        return model

    assert entangled_apart(make, digits, make_key()) > 1e-3


def test_a_convolution_may_give_the_scores(digits, make_key):
    def make():
        head = [layers.Conv2D(10, 1), layers.GlobalAveragePooling2D(), layers.Softmax()]
        return network(layers.Conv2D(12, 3, 2, activation="relu"), *head)

    assert entangled_apart(make, digits, make_key()) > 1e-3


def test_the_layer_that_gives_the_scores_is_found_in_models_inside_of_models():
    inside = keras.Sequential([layers.Dense(3), layers.Dense(3, name="first")])
    head = keras.Sequential([layers.Dense(3), layers.Dense(3, name="scores")])
    model = keras.Sequential([keras.Input((4,)), inside, head, layers.Softmax()])
    assert Entanglement(model, 3)._head.name == "scores"


def test_a_model_whose_scores_come_from_elsewhere_is_trained_without(digits, make_key):
    body = [layers.Flatten(), layers.Dense(30, "relu"), layers.Reshape((3, 10))]
    model = network(*body, layers.GlobalMaxPooling1D(), layers.Softmax())
    with pytest.warns(UserWarning, match="cannot be entangled. Expected .* of 10 outputs"):
        history = fitted(model, digits, make_key()).history
    assert np.isfinite(history["loss"]).all()
