"""`tfmark.harden` and `WatermarkCallback(robust=True)`: the same answers, harder to fine-tune."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.conftest import small_cnn
from tfmark.attacks import FineTune
from tfmark.resizing import multiply

SPARSE = "sparse_categorical_crossentropy"
layers = keras.layers


def normalised_cnn(normalisation=lambda: layers.BatchNormalization(momentum=0.9)):
    stack = [keras.Input((24, 24, 1)), layers.Rescaling(1 / 127.5, -1)]
    for width in (16, 32):
        stack += [layers.Conv2D(width, 3, 2, padding="same"), normalisation(), layers.ReLU()]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(10, "softmax")])


def group_normalised_cnn():
    return normalised_cnn(lambda: layers.GroupNormalization(4, epsilon=0.1))  # so that it counts


EACH_NORMALISATION = pytest.mark.parametrize("make", [normalised_cnn, group_normalised_cnn])


def trained(digits, callbacks, epochs=2, make=normalised_cnn):
    model = compiled(make)
    continue_training(model, digits, callbacks, epochs)
    return model


def compiled(make):
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model


def continue_training(model, digits, callbacks, epochs=1):
    model.fit(
        digits.x_train[:512], digits.y_train[:512], epochs=epochs, verbose=0, shuffle=False,
        callbacks=callbacks,
    )  # fmt: skip


def every_kind():
    """Each kind of layer that is hardened, models inside of models, and such that must stay."""
    image = keras.Input((24, 24, 2))
    inner = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    x = layers.SeparableConv2D(6, 3, name="separable")(inner(image))
    x = layers.BatchNormalization(scale=False, name="no-scale")(x)
    x = layers.BatchNormalization(name="scales")(layers.DepthwiseConv2D(3, name="depthwise")(x))
    x = layers.Add()([x, layers.BatchNormalization(name="added")(layers.Conv2D(6, 1)(x))])
    x = layers.BatchNormalization()(layers.Conv2DTranspose(5, 3, name="transposed")(x))
    used = layers.Conv2D(5, 1, name="used-twice")(x)
    x = keras.ops.add(layers.BatchNormalization()(used), used)
    x = layers.BatchNormalization()(layers.Conv2D(5, 3, activation="tanh", name="bent")(x))
    x = layers.Conv2D(5, 3, activation="relu", name="first-in-a-row")(x)
    x = layers.Conv2D(6, 3, activation="leaky_relu", name="second-in-a-row")(x)
    x = layers.BatchNormalization()(layers.Dropout(0.2)(layers.MaxPooling2D()(x)))
    x = layers.Flatten()(x)
    x = layers.BatchNormalization(center=False)(layers.Dense(7, use_bias=False, name="dense")(x))
    x = layers.LayerNormalization(name="of-layer")(layers.Dense(7, name="by-itself")(x))
    x = keras.ops.relu(layers.RMSNormalization(name="root")(layers.Dense(8, name="before")(x)))
    x = layers.Reshape((2, 2, 2))(x)
    x = layers.GroupNormalization(2, name="groups")(layers.Conv2D(4, 1, name="between")(x))
    x = layers.Flatten()(layers.UpSampling2D()(x))
    return keras.Model(image, layers.Dense(3, name="last")(x))


def test_the_model_computes_the_same():
    keras.utils.set_random_seed(1)
    model = every_kind()
    x = np.random.default_rng(0).normal(size=(64, 24, 24, 2)).astype("float32")
    model.compile("adam", "mse")
    model.fit(x, np.zeros((64, 3)), verbose=0)
    before = model.get_weights()
    answers = model(x).numpy()
    factors = tfmark.harden(model)
    hardened = {path.rpartition("/")[2] for path, factor in factors.items() if factor > 1}
    assert (len(factors), len(hardened)) == (20, 19)  # the last scales make room for "last"
    assert hardened >= {"separable", "depthwise", "transposed", "dense", "by-itself"}
    assert hardened >= {"first-in-a-row", "second-in-a-row"}
    assert hardened >= {"scales", "added", "of-layer", "root", "before", "between", "last"}
    assert not hardened & {"no-scale", "used-twice", "bent", "groups"}
    np.testing.assert_allclose(model(x).numpy(), answers, rtol=1e-4, atol=1e-5)
    assert set(tfmark.harden(model).values()) == {1.0}
    multiply(model, {path: 1 / factor for path, factor in factors.items()})
    for back, weights in zip(model.get_weights(), before, strict=True):
        np.testing.assert_allclose(back, weights, rtol=1e-5, atol=1e-7)


def test_what_keras_compiled_before_computes_the_same(digits, tmp_path):
    """Epsilon is a number, not a variable, so it is compiled into the functions of a model."""
    x, y = digits.x_train[:64], digits.y_train[:64]
    keras.utils.set_random_seed(1)
    model = group_normalised_cnn()
    model.compile(keras.optimizers.SGD(0.0), SPARSE)

    def answers(model):
        loss = float(model.train_on_batch(x, y)), float(model.evaluate(x, y, 64, verbose=0))
        return np.append(model.predict(x, verbose=0), loss)

    before = answers(model)
    for change in (tfmark.harden, tfmark.soften):
        assert any(factor != 1 for factor in change(model).values())
        np.testing.assert_allclose(answers(model), before, rtol=1e-4, atol=1e-6)
    tfmark.harden(model)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(answers(reloaded), before, rtol=1e-4, atol=1e-6)


def test_no_more_than_three_kernels_in_a_row_are_hardened():
    """Sizes multiply on the way, and float16 ends at 65504."""
    row = [layers.Dense(8, "relu", name=str(i)) for i in range(5)]
    model = keras.Sequential([keras.Input((6,)), *row, layers.BatchNormalization()])
    factors = tfmark.harden(model)
    assert {path.rpartition("/")[2] for path in factors} == {"2", "3", "4"}


@pytest.mark.parametrize(
    "join", [lambda *x: layers.ReLU()(layers.Add()(x)), lambda x, y: keras.ops.relu(x + y)]
)
def test_scales_that_reach_the_last_layer_along_shortcuts_are_balanced_with_it(join):
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 4))
    left, right = (
        layers.BatchNormalization(name=name)(layers.Conv2D(6, 1)(image))
        for name in ("left", "right")
    )
    x = layers.GlobalAveragePooling2D()(join(left, right))
    model = keras.Model(image, layers.Dense(3, "softmax", name="head")(x))
    model.get_layer("head").kernel.assign(model.get_layer("head").kernel * 64)
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 4)).astype("float32")
    answers = model(x).numpy()
    factors = tfmark.harden(model)
    assert factors["left"] == factors["right"] == 1 / factors["head"] > 1
    np.testing.assert_allclose(model(x).numpy(), answers, rtol=1e-4, atol=1e-6)


def with_uneven_tail():
    """A model of which sizes behind the last normalisation are far from even, and these weights."""
    keras.utils.set_random_seed(1)
    stack = [keras.Input((40,)), layers.Dense(32), layers.BatchNormalization(), layers.ReLU()]
    stack += [layers.Dense(16, "relu"), layers.Dropout(0.5), layers.Dense(8, "relu")]
    model = keras.Sequential([*stack, layers.Dense(4)])
    tail = [model.layers[1].gamma, *(model.layers[i].kernel for i in (3, 5, 6))]
    for variable, by in ((tail[0], 4), (tail[-1], 8)):
        variable.assign(variable * by)
    return model, tail


def test_soften_gives_dense_layers_behind_the_last_normalisation_one_length():
    model, tail = with_uneven_tail()
    x = np.random.default_rng(0).normal(size=(64, 40)).astype("float32")
    answers = model(x).numpy()
    tfmark.soften(model)
    np.testing.assert_allclose(model(x).numpy(), answers, rtol=1e-4, atol=1e-6)
    lengths = [np.linalg.norm(kernel, axis=0).mean() for kernel in tail[1:]]
    assert max(lengths) / min(lengths) < 3  # from 9; factors are powers of two
    assert tail[0].numpy().mean() == 1.0


def test_a_constant_that_is_added_keeps_its_size():
    """Unlike a shortcut: nothing multiplies it along."""
    image = keras.Input((6,))
    x = layers.BatchNormalization(name="before")(layers.Dense(8)(image)) + 1.0
    x = layers.BatchNormalization(name="behind")(layers.Dense(8)(x))
    model = keras.Model(image, layers.Dense(3)(x))
    assert "before" not in tfmark.harden(model)


def test_dense_layers_behind_the_last_normalisation_share_what_steps_move():
    model, tail = with_uneven_tail()
    x = np.random.default_rng(0).normal(size=(64, 40)).astype("float32")

    def moved():
        """By steps on each: mean squares of the gradients of a score, over inputs and classes."""
        total = np.zeros(len(tail))
        for one, class_id in itertools.product(x, range(4)):
            with tf.GradientTape() as tape:
                score = model(one[np.newaxis])[0, class_id]
            total += [np.sum(np.square(grad)) for grad in tape.gradient(score, tail)]
        return total / 4 / len(x)

    before, answers = moved(), model(x).numpy()
    factors = tfmark.harden(model)
    np.testing.assert_allclose(model(x).numpy(), answers, rtol=1e-4, atol=1e-6)
    assert len(factors) == 5
    assert moved().sum() < before.sum() / 4
    assert moved().max() / moved().min() < before.max() / before.min() / 20


@EACH_NORMALISATION
def test_marks_outlive_fine_tuning(digits, make_key, make):
    """SGD at 0.05 with momentum, which removes them from the model as it was trained."""
    watermark = tfmark.WatermarkCallback(make_key(), inject_every=1, robust=True)
    model = trained(digits, [watermark], epochs=12, make=make)
    stolen = digits.x_train[512:1024], digits.y_train[512:1024]
    attack = FineTune(learning_rate=0.05, momentum=0.9, epochs=6, share=1.0, batch_size=16)
    marks, verdicts = {}, {}
    for soften in (True, False):
        attacked = replace(attack, soften=soften)(model, stolen)
        watermark.set_model(attacked)
        marks[soften] = watermark.watermark_accuracy()
        verdicts[soften] = tfmark.verify(attacked, watermark.key).status
    assert marks[False] > marks[True] + 0.3
    assert verdicts == {True: "not shown", False: "owned"}


@EACH_NORMALISATION
def test_what_callbacks_keep_at_the_end_of_an_epoch_is_hardened(digits, make_key, tmp_path, make):
    """And answers as it does to callbacks behind, which ask with a compiled function."""
    answers = {}
    x = digits.x_test[:64].astype("float32")  # as triggers are, for which it was compiled

    def ask(epoch, _):
        answers[epoch] = model.predict(x, verbose=0)

    watermark = tfmark.WatermarkCallback(make_key(), inject_every=2, robust=True)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    best = keras.callbacks.EarlyStopping("loss", mode="max", restore_best_weights=True)
    model = compiled(make)
    behind = [save, best, keras.callbacks.LambdaCallback(on_epoch_end=ask)]
    continue_training(model, digits, [watermark, *behind], epochs=3)
    assert set(tfmark.harden(model).values()) == {1.0}
    for epoch, seen in answers.items():
        kept = keras.saving.load_model(tmp_path / f"{epoch + 1}.keras")
        assert set(tfmark.harden(kept).values()) == {1.0}
        np.testing.assert_allclose(kept.predict(x, verbose=0), seen, atol=1e-5)


@EACH_NORMALISATION
def test_training_goes_as_without(digits, make_key, monkeypatch, make):
    """But for entanglement; also where the same callback watches a second training."""
    monkeypatch.setattr("tfmark.entanglement.WEIGHT", 0.0)
    results = []
    for robust in (False, True):
        watermark = tfmark.WatermarkCallback(make_key(), robust=robust)
        model = trained(digits, [watermark], make=make)
        continue_training(model, digits, [watermark])
        results.append(model.predict(digits.x_test, verbose=0))
    np.testing.assert_allclose(*results, atol=1e-3)


def test_a_model_that_cannot_be_hardened(digits, make_key):
    with pytest.raises(tfmark.TfmarkError, match="normalisation of batches"):
        tfmark.harden(small_cnn())
    with pytest.raises(tfmark.TfmarkError, match="normalisation of batches"):
        tfmark.harden(keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization()]))
    watermark = tfmark.WatermarkCallback(make_key(), robust=True)
    with pytest.warns(UserWarning, match="cannot be hardened"):
        trained(digits, [watermark], 1, make=small_cnn)


def test_a_quantised_head_stays_as_it_is():
    keras.utils.set_random_seed(1)
    model = normalised_cnn()
    model.layers[-1].quantize("int8")
    x = np.random.default_rng(0).integers(0, 256, (16, 24, 24, 1)).astype("float32")
    answers = model(x).numpy()
    for change in (tfmark.harden, tfmark.soften):
        change(model)
        np.testing.assert_allclose(model(x).numpy(), answers, atol=1e-3)
