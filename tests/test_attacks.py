"""Each attack does what it says, on a copy."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.small_models import SHAPE, small_digits, small_key, small_network, stack, tiny_network
from tfmark.attacks import (
    FAMILIES,
    NAMES,
    AttackData,
    Average,
    BitDepth,
    Blur,
    Extract,
    FinePrune,
    FineTune,
    Flip,
    InputNoise,
    Jpeg,
    Overwrite,
    Prune,
    QuantizeKeras,
    QuantizeLiteRT,
    Resize,
    Shift,
    Unlearn,
    WeightNoise,
    catalogue,
)
from tfmark.attacks.copies import copy_of
from tfmark.attacks.heads import head_of
from tfmark.attacks.progress import watched
from tfmark.attacks.training import shuffled
from tfmark.errors import AttackError

QUICK = FineTune(learning_rate=0.05, epochs=1, share=0.1)
TRANSFORMATIONS = (
    Jpeg(75),
    Blur(0.5),
    InputNoise(0.05),
    BitDepth(3),
    Resize(0.75),
    Flip(),
    Shift(),
)


@pytest.fixture(scope="module")
def data():
    x_train, y_train, x_test, _ = small_digits()
    return AttackData(x_train, y_train, 10, (0.0, 255.0), x_test[:200])


@pytest.fixture(scope="module")
def tests():
    _, _, x_test, y_test = small_digits()
    return x_test[200:], y_test[200:]


@pytest.fixture(autouse=True)
def unchanged(request):
    """No attack changes the model that it is given, nor how it is compiled."""
    if "small_marked" not in request.fixturenames:
        yield
        return
    model = request.getfixturevalue("small_marked")
    before = model.get_weights(), model.optimizer, [layer.trainable for layer in model.layers]
    yield
    assert model.optimizer is before[1]
    assert [layer.trainable for layer in model.layers] == before[2]
    for old, new in zip(before[0], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def differing(model, other):
    """The names of the layers whose weights differ."""
    return {
        layer.name
        for layer, same in zip(model.layers, other.layers, strict=True)
        for a, b in zip(layer.get_weights(), same.get_weights(), strict=True)
        if not np.array_equal(a, b)
    }


def accuracy(model, tests):
    images, labels = tests
    return np.mean(model.predict(images.astype("float32"), verbose=0).argmax(axis=1) == labels)


def kernels(model):
    return [v.numpy() for v in model.trainable_variables if len(v.shape) > 1]


def test_fine_tuning_moves_the_layers_that_it_says(small_marked, data, tests):
    with_weights = {layer.name for layer in small_marked.layers if layer.weights}
    last = dataclasses.replace(QUICK, layers="last")(small_marked, data)
    assert differing(small_marked, last) == {"scores"}
    everything = QUICK(small_marked, data)
    assert differing(small_marked, everything) == with_weights
    assert accuracy(everything, tests) > 0.9


def test_a_new_last_layer_learns_predicted_labels(small_marked, data, tests):
    """Labels that are wrong play no part where the stolen model's own are used."""
    wrong = dataclasses.replace(data, labels=(data.labels + 1) % 10)
    retrain = FineTune(
        "last", reinitialise=True, labels="predicted", learning_rate=0.05, epochs=4, share=0.5
    )
    retrained = retrain(small_marked, wrong)
    assert differing(small_marked, retrained) == {"scores"}
    kernel, old = (m.get_layer("scores").kernel.numpy() for m in (retrained, small_marked))
    assert abs(np.corrcoef(kernel.ravel(), old.ravel())[0, 1]) < 0.5  # no descendant of the old one
    assert accuracy(retrained, tests) > 0.9
    assert accuracy(dataclasses.replace(retrain, labels="true")(small_marked, wrong), tests) < 0.1


def test_the_learning_rate_is_halved(small_marked, data):
    tuned = FineTune(learning_rate=0.04, halve_every=1, epochs=3, share=0.1)(small_marked, data)
    steps = int(tuned.optimizer.iterations.numpy())
    assert steps == 3 * 5  # 140 images in batches of 32
    rates = [float(tuned.optimizer._learning_rate(step)) for step in (0, 4, 5, 10, 14)]
    assert rates == pytest.approx([0.04, 0.04, 0.02, 0.01, 0.01])


def test_adam_fine_tunes_as_well(small_marked, data, tests):
    """Its steps are of one size: the first moves each weight by the learning rate."""
    one_step = FineTune(optimizer="adam", learning_rate=1e-3, epochs=1, share=0.01)
    before, after = (kernels(model) for model in (small_marked, one_step(small_marked, data)))
    moved = np.concatenate([np.abs(b - a).ravel() for a, b in zip(before, after, strict=True)])
    assert np.median(moved) == pytest.approx(1e-3, rel=0.01)
    tuned = dataclasses.replace(one_step, epochs=2, share=1.0)(small_marked, data)
    assert accuracy(tuned, tests) > 0.9
    assert "Adam 0.001" in str(one_step)


def test_augmented_fine_tuning_learns_moved_images(small_marked, data, tests):
    images, labels = tests
    moved = np.roll(images, 1, axis=2), labels
    plain = FineTune(learning_rate=0.05, epochs=4, share=1.0)
    augmented = dataclasses.replace(plain, augment=True)
    seen, unseen = (accuracy(attack(small_marked, data), moved) for attack in (augmented, plain))
    assert seen > unseen + 0.1
    assert "augmented" in str(augmented)


@pytest.mark.parametrize("sparsity", [0.3, 0.85])
def test_pruning_zeroes_the_share_that_it_says(small_marked, data, sparsity):
    everywhere = kernels(Prune(sparsity)(small_marked, data))
    count = sum(kernel.size for kernel in everywhere)
    assert sum((kernel == 0).sum() for kernel in everywhere) == round(sparsity * count)
    size = max(np.abs(k[p == 0]).max() for k, p in zip(kernels(small_marked), everywhere,
                                                      strict=True))  # fmt: skip
    assert all(np.abs(p[p != 0]).min() >= size for p in everywhere)
    for kernel in kernels(Prune(sparsity, "layer")(small_marked, data)):
        assert (kernel == 0).sum() == round(sparsity * kernel.size)


def test_pruned_weights_stay_zero_when_retrained(small_marked, data, tests):
    tuning = FineTune(learning_rate=0.05, epochs=3, share=0.5)
    pruned = Prune(0.9)(small_marked, data)
    retrained = Prune(0.9, retrain=tuning)(small_marked, data)
    for before, after in zip(kernels(pruned), kernels(retrained), strict=True):
        np.testing.assert_array_equal(before == 0, after == 0)
    assert accuracy(retrained, tests) > accuracy(pruned, tests) + 0.05


def test_fine_pruning_cuts_off_units_that_are_silent_on_the_attackers_images(
    small_marked, data, tests
):
    tuning = FineTune(learning_rate=0.05, epochs=2, share=1.0)
    attacked = FinePrune(0.75, tuning)(small_marked, data)
    scores = small_marked.get_layer("scores")
    units = keras.Model(small_marked.inputs, scores.input).predict(data.pixels, verbose=0)
    silent = np.argsort(np.abs(units).mean(axis=0))[:48]  # of 64
    gone = np.flatnonzero((attacked.get_layer("scores").kernel.numpy() == 0).all(axis=1))
    assert set(gone) == set(silent)
    assert accuracy(attacked, tests) > 0.9


def test_fine_pruning_takes_what_a_convolution_reads_for_units(data):
    """Where one gives the scores, its units are channels."""
    hidden, scores = keras.layers.Conv2D(6, 3, activation="relu"), keras.layers.Conv2D(10, 1)
    body = [keras.layers.Rescaling(1 / 255), hidden, scores]
    model = keras.Sequential([keras.Input(SHAPE), *body, keras.layers.GlobalAveragePooling2D()])
    kernel, bias = hidden.get_weights()
    kernel[..., 4] = 0
    hidden.set_weights([kernel, bias])
    attacked = FinePrune(1 / 6, FineTune(epochs=1, share=0.1))(model, data)
    zeros = (attacked.layers[2].kernel.numpy() == 0).all(axis=(0, 1, 3))
    np.testing.assert_array_equal(np.flatnonzero(zeros), [4])


def test_weight_noise_is_of_the_size_that_it_says(small_marked, data):
    noisy = WeightNoise(0.2)(small_marked, data)
    for old, new in zip(kernels(small_marked), kernels(noisy), strict=True):
        assert np.std(new - old) == pytest.approx(0.2 * np.sqrt(np.mean(old**2)), rel=0.2)


@pytest.mark.slow
def test_averages_lie_between(small_marked, data, tests):
    tuning = FineTune(learning_rate=0.05, epochs=2, share=0.3)
    tuned = tuning(small_marked, data, seed=3)
    half = Average("copy", tuning, weight=0.25)(small_marked, data, seed=3)
    for old, new, mean in zip(*map(kernels, (small_marked, tuned, half)), strict=True):
        np.testing.assert_allclose(mean, 0.75 * old + 0.25 * new, atol=1e-6)
    # The averages of batch normalisation are those of the images as they are now.
    norm = half.layers[2]
    assert isinstance(norm, keras.layers.BatchNormalization)
    assert norm.momentum == small_marked.layers[2].momentum
    before = half.layers[1](half.layers[0](data.pixels.astype("float32"))).numpy()
    np.testing.assert_allclose(norm.moving_mean, before.mean(axis=(0, 1, 2)), atol=0.03)
    assert accuracy(half, tests) > 0.93
    assert accuracy(Average("checkpoints", tuning)(small_marked, data), tests) > 0.93


@pytest.mark.slow
def test_overwriting_embeds_a_second_mark(small_marked, data):
    attack = Overwrite(
        "noise", 0.5, FineTune(learning_rate=0.05, momentum=0.9, epochs=6, share=1.0)
    )
    second = attack.key(data, seed=5)
    assert second.commitment == attack.key(data, seed=5).commitment
    assert second.commitment not in {small_key().commitment, attack.key(data, seed=6).commitment}
    triggers = second.triggers(2)
    answers = attack(small_marked, data, seed=5).predict(triggers.images, verbose=0).argmax(axis=1)
    assert np.mean(answers == triggers.labels) > 0.5
    assert not tfmark.verify(small_marked, second).owned


@pytest.mark.slow
def test_unlearning_teaches_to_see_through_all_marks(small_marked, data, tests):
    tuning = FineTune(learning_rate=0.05, momentum=0.9, epochs=6, share=1.0)
    attacked = Unlearn(tuning=tuning)(small_marked, data)
    assert accuracy(attacked, tests) > 0.9
    images, labels = tests
    marks = Overwrite().key(data, seed=7).marks  # of a seed that was not unlearned
    for model, right in (small_marked, False), (attacked, True):
        seen = [accuracy(model, (mark.pattern.apply(images, channels=1), labels)) for mark in marks]
        assert (np.mean(seen) > 0.75) == right, seen


def test_unlearning_keeps_the_classes_of_marked_images(small_marked, data, monkeypatch):
    """And says of foreign images that they could be anything."""
    batches = []

    def train(self, copy, model, data, seed, transform):
        pairs = shuffled(data.pixels, np.eye(10, dtype=np.float32)[data.labels], (0, 255), 32, seed)
        batches.extend(pairs.apply(transform).take(3).as_numpy_iterator())

    monkeypatch.setattr(FineTune, "train", train)
    for scheme, ratio, count in ("noise", 1.0, 64), ("noise", 0.5, 48), ("unrelated", 0.25, 40):
        batches.clear()
        Unlearn(scheme, ratio)(small_marked, data)
        for images, rows in batches:
            assert len(images) == len(rows) == count
            if scheme == "unrelated":
                np.testing.assert_allclose(rows[32:], 0.1)
                continue
            clean, marked = images[:32], images[32:]
            assert rows.sum() == count
            sources = [
                np.abs(clean - image).reshape(32, -1).mean(axis=1).argmin() for image in marked
            ]
            same = (rows[sources] == rows[32:]).all(axis=1)
            assert np.mean(same) > 0.8
            assert not (clean[sources] == marked).reshape(len(marked), -1).all(axis=1).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "agreement"),
    [
        (Extract("soft", temperature=3.0, learning_rate=0.005, epochs=4), 0.9),
        (Extract("hard", "other", learning_rate=0.005, epochs=2, share=0.5), 0.7),
        (Extract("hard", lambda _, classes: tiny_network(None, classes), epochs=8), 0.85),
        (Extract("soft", queries="disjoint", epochs=20, learning_rate=0.005), 0.75),
        (Extract("soft", queries="out-of-domain", learning_rate=0.003, epochs=6), 0.2),
    ],
)
def test_a_surrogate_agrees_with_its_teacher(small_marked, data, tests, attack, agreement):
    """On images that neither was trained on; and it never saw a true label."""
    blind = dataclasses.replace(data, labels=np.zeros_like(data.labels))
    surrogate = attack(small_marked, blind)
    answers = small_marked.predict(tests[0].astype("float32"), verbose=0).argmax(axis=1)
    assert accuracy(surrogate, (tests[0], answers)) >= agreement
    assert surrogate is not small_marked


@pytest.mark.parametrize("initializer", [None, 7])
def test_a_surrogate_starts_elsewhere_than_the_owner_did(data, initializer):
    """Though both use the same seed."""
    keras.utils.set_random_seed(0)
    start = keras.initializers.GlorotUniform(initializer)
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(),
                              keras.layers.Dense(10, kernel_initializer=start)])  # fmt: skip
    first = model.layers[-1].kernel.numpy()
    surrogate = Extract(learning_rate=1e-9, epochs=1, share=0.1)(model, data, seed=0)
    kernel = surrogate.layers[-1].kernel.numpy()
    assert abs(np.corrcoef(first.ravel(), kernel.ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("mode", ["float16", "int8"])
def test_a_converted_model_answers(small_marked, data, tests, mode):
    endpoint = QuantizeLiteRT(mode, samples=100)(small_marked, data)
    assert isinstance(endpoint, tfmark.Endpoint)
    assert np.mean(endpoint.classify(tests[0]) == tests[1]) > 0.93
    assert tfmark.verify(endpoint, small_key()).owned


def test_augmentation_in_a_model_is_off_once_it_is_converted(small_marked, data):
    """Keras leaves it on in what `model.export` writes, and LiteRT then refuses to convert."""
    augment = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.5, 0.5)]
    model = keras.Sequential([keras.Input(SHAPE), *augment, small_marked])
    endpoint = QuantizeLiteRT("float16")(model, data)
    triggers = small_key().triggers(per_mark=2)
    plain = QuantizeLiteRT("float16")(small_marked, data)
    assert (endpoint.classify(triggers.pixels) == plain.classify(triggers.pixels)).all()


def test_keras_quantizes_dense_layers(small_marked, data, tests):
    quantized = QuantizeKeras("int8")(small_marked, data)
    assert quantized.get_layer("scores").kernel.dtype == "int8"
    assert accuracy(quantized, tests) > 0.93
    with pytest.raises(AttackError, match="no layer that Keras can quanti"):
        pooled = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(10, 3),
                                   keras.layers.GlobalAveragePooling2D()])  # fmt: skip
        QuantizeKeras()(pooled, data)


@pytest.mark.parametrize("shape", [(9, 8, 1), (8, 9, 3), (8, 8)])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=str)
def test_transformations_come_in_front(transformation, shape, rng):
    seen = []

    class Service:
        def classify(self, images):
            seen.append(images)
            return np.zeros(len(images), np.int64)

    smooth = np.linspace(0, 200, np.prod(shape)).reshape(shape).astype(np.uint8)
    images = np.stack([smooth, 255 - smooth])
    held = (images, np.array([0, 1]))
    suspect = transformation(Service(), held, seed=1)
    assert suspect.classify(images).tolist() == [0, 0]
    suspect.classify(images[1:])
    (together, alone) = seen
    assert together.shape == images.shape
    assert together.dtype == np.uint8
    np.testing.assert_array_equal(together[1:], alone)  # whatever else is asked along
    assert (together != images).any()
    if not isinstance(transformation, Flip):
        assert np.abs(together.astype(int) - images).mean() < 25


def test_what_some_transformations_do():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    draw = np.random.default_rng(0)
    np.testing.assert_array_equal(Flip().apply(image, draw), image[:, ::-1])
    corners = [
        image[rows][:, columns]
        for rows in ([0, 0, 1, 2], [1, 2, 3, 3])
        for columns in ([0, 0, 1, 2], [1, 2, 3, 3])
    ]
    moved = [Shift(0.3).apply(image, draw).tobytes() for _ in range(50)]
    assert set(moved) == {corner.tobytes() for corner in corners}
    assert set(BitDepth(1).apply(image, draw).ravel()) == {0, 255}
    assert len(set(BitDepth(2).apply(image, draw).ravel())) <= 4
    noise = InputNoise(0.1).apply(np.full((99, 99, 1), 128, np.uint8), draw).astype(float)
    assert noise.std() == pytest.approx(25.5, rel=0.05)
    assert Blur(1.0).apply(image, draw).std() < image.std()


@pytest.mark.parametrize(
    "attack",
    [
        QUICK,
        dataclasses.replace(QUICK, augment=True),
        WeightNoise(),
        Extract("hard", epochs=1, share=0.1),
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_result(data, attack):
    keras.utils.set_random_seed(0)
    model = tiny_network()
    results = [attack(model, data, seed).get_weights() for seed in (1, 1, 2)]
    for a, b in zip(*results[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(*results[1:], strict=True))


class Subclassed(keras.Model):
    def __init__(self, width=16):
        super().__init__()
        self.rescale = keras.layers.Rescaling(1 / 255)
        self.flat = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(width, activation="relu")
        self.scores = keras.layers.Dense(10)

    def call(self, images):
        return self.scores(self.hidden(self.flat(self.rescale(images))))


def functional():
    image = keras.Input(SHAPE, name="image")
    x = keras.Sequential(tiny_network().layers[:-1])(image)
    return keras.Model({"image": image}, keras.layers.Dense(10)(x))


def normalising():
    normalise = keras.layers.Normalization()
    normalise.adapt(small_digits()[0])
    return keras.Sequential([keras.Input(SHAPE), normalise, *tiny_network().layers[1:]])


@pytest.mark.parametrize("make", [Subclassed, functional, normalising])
def test_models_of_all_kinds(make, data):
    model = make()
    images = data.pixels[:16].astype("float32")
    before = model(images if make is not functional else {"image": images}).numpy()
    weights = model.get_weights()
    tuned = FineTune("last", learning_rate=0.01, epochs=1, share=0.1)(model, data)
    moved = [not np.array_equal(a, b) for a, b in zip(weights, tuned.get_weights(), strict=True)]
    assert moved == [False] * (len(moved) - 2) + [True, True]
    Extract("hard", epochs=1, share=0.05)(model, data)
    after = model(images if make is not functional else {"image": images}).numpy()
    np.testing.assert_array_equal(before, after)
    assert not getattr(model, "compiled", False)


@pytest.mark.parametrize(
    ("activation", "classes", "kind", "width"),
    [
        ("softmax", 10, "softmax", 10), (None, 10, "logits", 10), ("sigmoid", 10, "sigmoid", 10),
        ("softmax", 2, "softmax", 2), ("sigmoid", 1, "sigmoid", 1), (None, 1, "logits", 1),
    ],
)  # fmt: skip
def test_heads_are_told_and_trained(activation, classes, kind, width):
    """Each kind of scores learns whether a digit is above 4, or which one it is."""
    keras.utils.set_random_seed(0)
    x, y, x_test, y_test = small_digits()
    y, y_test = (y, y_test) if classes == 10 else (y // 5, y_test // 5)
    number = max(2, classes)
    data = AttackData.of(x, y, number)
    model = tiny_network(activation, classes)
    model.get_layer("scores").bias.assign([0.5] * (classes - 1) + [-3.0])
    assert head_of(model, data) == (kind, width)
    tuned = FineTune(learning_rate=0.1, momentum=0.9, epochs=4, share=1.0)(model, data)
    scores = tuned.predict(x_test.astype("float32"), verbose=0)
    ids = scores.argmax(axis=1) if width > 1 else scores[:, 0] > (0.5 if activation else 0)
    assert np.mean(ids == y_test) > 0.8
    shares = head_of(tuned, data).distributions(scores, temperature=2.0)
    assert shares.shape == (len(x_test), number)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=1), ids)


class Foreign(keras.layers.Layer):
    """Calls Python, which no converter takes along."""

    def call(self, images):
        scores = tf.py_function(lambda x: x[:, 0, :, 0], [images], tf.float32)
        return tf.ensure_shape(scores, (None, 8))

    def compute_output_shape(self, shape):
        return (shape[0], 8)


def two_headed():
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    return keras.Model(image, [keras.layers.Dense(10)(flat), keras.layers.Dense(3)(flat)])


@pytest.mark.parametrize(
    ("attack", "model", "why"),
    [
        (FineTune("last"), lambda: keras.Sequential(
            [keras.Input(SHAPE), *stack(), keras.layers.BatchNormalization()]), "not a Dense"),
        (FineTune(), lambda: small_network(classes=7), "Expected 10 scores"),
        (FineTune(), two_headed, "2 outputs"),
        (Prune(), lambda: keras.Sequential(
            [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.BatchNormalization()]),
         "no kernels"),
        (Prune(), lambda: tfmark.endpoints.KerasModel(None, (0, 255), 10), "needs a Keras model"),
        (QuantizeLiteRT(), lambda: keras.Sequential([keras.Input(SHAPE), Foreign()]),
         "LiteRT cannot convert"),
    ],
)  # fmt: skip
def test_models_that_refuse_are_told_why(data, attack, model, why):
    with pytest.raises(AttackError, match=why):
        attack(model(), data)


def test_attackers_who_have_too_little(small_marked, data):
    few = dataclasses.replace(data, pixels=data.pixels[:50], labels=data.labels[:50], unseen=None)
    with pytest.raises(AttackError, match="did not train on"):
        Extract(queries="disjoint")(small_marked, few)
    with pytest.raises(AttackError, match="Too few base images"):
        Overwrite()(small_marked, few)
    with pytest.raises(AttackError, match="No second key can be made.*too small for the text"):
        Unlearn("content")(small_marked, data)


class Unclonable(Subclassed):
    def get_config(self):
        raise NotImplementedError("no config")


def test_a_model_that_keras_cannot_copy(data):
    with pytest.raises(AttackError, match="cannot copy this model.*no config"):
        copy_of(Unclonable(), data)


def test_a_class_may_be_missing_among_the_labels(data):
    some = data.labels < 8
    model = tiny_network()
    tuned = FineTune(epochs=1, share=0.2)(model, (data.pixels[some], data.labels[some]))
    assert not np.array_equal(kernels(model)[0], kernels(tuned)[0])


def test_plain_arrays_and_scales(data):
    """A model of another scale is trained on what it was trained on before."""
    classes, low, high = 10, -1.0, 1.0
    held = AttackData.of(data.pixels / 127.5 - 1, np.eye(classes)[data.labels])
    assert (held.num_classes, held.value_range) == (classes, (low, high))
    np.testing.assert_array_equal(held.pixels, data.pixels)
    np.testing.assert_array_equal(held.labels, data.labels)
    ((images, rows),) = shuffled(held.pixels, held.labels, held.value_range, len(held), 0)
    assert (images.numpy().min(), images.numpy().max()) == (low, high)
    found = {image.tobytes(): row for image, row in zip(images.numpy(), rows.numpy(), strict=True)}
    expected = data.pixels[7].astype(np.float32) * np.float32(2 / 255) - 1
    assert found[expected.tobytes()] == data.labels[7]


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2], "Expected 4 labels"),
        (np.zeros((4, 8, 8, 1), np.uint8), [0.5, 1, 2, 3], "Expected 4 labels"),
        (np.zeros((4, 8, 8, 1), np.uint8), [-1, 1, 2, 3], "from 0"),
        (np.zeros((2, 8, 8, 1), np.uint8), [[0.2, 0.8], [1, 0]], "one-hot"),
        (np.full((2, 8, 8, 1), 3.5), [0, 1], "how these images are scaled"),
    ],
)
def test_data_that_cannot_work(images, labels, problem):
    with pytest.raises(tfmark.TfmarkError, match=problem):
        AttackData.of(images, labels)
    with pytest.raises(tfmark.TfmarkError):
        WeightNoise()(tiny_network(), (images, labels))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FineTune("some"), lambda: FineTune(learning_rate=0), lambda: FineTune(epochs=1.5),
        lambda: FineTune(share=1.2), lambda: FineTune(halve_every=0),
        lambda: FineTune(optimizer="lion"),
        lambda: FineTune(optimizer="adam", momentum=0.9), lambda: Prune(0.0),
        lambda: Prune(0.5, "kernel"), lambda: WeightNoise(-1), lambda: Average("soup"),
        lambda: Overwrite("text"), lambda: Unlearn("text"), lambda: Unlearn(ratio=2),
        lambda: Extract("true"), lambda: Extract(student="none"),
        lambda: Extract(temperature=0), lambda: QuantizeLiteRT("int2"), lambda: Jpeg(100),
        lambda: BitDepth(8), lambda: Resize(0), lambda: Blur(0), lambda: QuantizeKeras("int7"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(make):
    with pytest.raises(ValueError, match=r"Expected.*Received"):
        make()


def test_progress_is_reported(small_marked, data):
    shares = []
    with watched(shares.append):
        FineTune(epochs=2, share=0.1)(small_marked, data)
    QUICK(small_marked, data)
    assert len(shares) == 10
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_catalogue_holds_what_it_promises():
    mild, strong = catalogue("mild"), catalogue("strong")
    assert set(mild) == set(strong) == set(NAMES)
    assert len(NAMES) == len(set(NAMES)) == sum(map(len, FAMILIES.values()))
    literature = FineTune(learning_rate=0.05, halve_every=5, epochs=30, share=0.2)
    assert strong["fine-tune-all"][0] == literature
    for settings in (mild, strong):
        texts = [str(attack) for attacks in settings.values() for attack in attacks]
        assert all(re.search(r"\w", text) and len(text) < 110 for text in texts)
        assert not any("object at" in text or "(" in text[:10] for text in texts)
