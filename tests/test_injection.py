import itertools
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark
from tests.conftest import small_cnn
from tfmark.attacks import Shift

SCHEMES = ("content", "unrelated", "noise")


def batches(digits, batch=32, dtype=tf.uint8, scale=1.0, one_hot=False, remainder=True):
    images = tf.cast(tf.cast(digits.x_train[:200], tf.float32) * scale, dtype)
    labels = tf.one_hot(digits.y_train[:200], 10) if one_hot else digits.y_train[:200]
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(
        batch, drop_remainder=not remainder
    )


def triggers_of(key, clean, marked):
    """Split a batch with triggers into the clean images in it and the triggers."""
    known = {image.tobytes() for image in np.asarray(clean)}
    return np.array([image.tobytes() not in known for image in np.asarray(marked)])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_triggers_are_exactly_those_of_the_key(digits, make_key, scheme):
    """Each added image is some mark of the key on an image of the batch, with the mark's label."""
    key = make_key(scheme)
    data, is_first = batches(digits), True
    for (clean, clean_labels), (images, labels) in zip(
        data, data.apply(tfmark.inject(key, 0.1, seed=1)), strict=True
    ):
        added = triggers_of(key, clean, images)
        assert added.sum() - max(1, round(0.1 * len(clean))) in range(24 if is_first else 1)
        is_first = False
        np.testing.assert_array_equal(images.numpy()[~added], clean)
        np.testing.assert_array_equal(labels.numpy()[~added], clean_labels)
        bases = clean.numpy()
        for trigger, label in zip(images.numpy()[added], labels.numpy()[added], strict=True):
            found = [
                mark.label
                for mark in key.marks
                if (_bases(key, mark, bases, mark.pattern) == trigger).all(axis=(1, 2, 3)).any()
            ]
            assert label in found


@pytest.mark.parametrize(("robust", "size"), [(False, 103), (True, 110)])
def test_how_many_triggers_there_are_unless_told(digits, make_key, robust, size):
    data = batches(digits, 100, remainder=False).apply(tfmark.inject(make_key(), robust=robust))
    assert data.element_spec[0].shape[0] == size


@pytest.mark.parametrize("scheme", ["content", "noise"])
def test_one_in_four_robust_triggers_is_fainter(digits, make_key, scheme, monkeypatch):
    monkeypatch.setattr("tfmark.trigger_moves.SHARE", 0.0)
    key = make_key(scheme)
    data = batches(digits, 16)
    strengths = np.linspace(0.3, 1, 71, dtype="float32")
    found = []
    for (clean, _), (images, labels) in zip(
        data, data.apply(tfmark.inject(key, 0.3, seed=1, robust=True)), strict=True
    ):
        added = triggers_of(key, clean, images)
        for trigger, label in zip(images.numpy()[added], labels.numpy()[added], strict=True):
            away = [
                np.abs(_bases(key, mark, clean.numpy(), faded) - trigger.astype(int))
                .mean(axis=(1, 2, 3)).min()
                for mark in key.marks
                if mark.label == label
                for faded in map(mark.pattern.faded, strengths)
            ]  # fmt: skip
            assert min(away) < 1
            found.append(strengths[np.argmin(away) % len(strengths)])
    assert 0.3 <= min(found) < 0.5
    assert 0.65 < np.mean(np.array(found) > 0.97) < 0.9


def test_three_in_ten_robust_triggers_stand_aside(digits, make_key):
    """By a sixteenth of a side at most: a pixel of 24, each way, with the border repeated."""
    key = make_key("unrelated")  # its marks are not made fainter
    pool = np.concatenate([_bases(key, mark, None, mark.pattern) for mark in key.marks])
    found = []
    for robust in (False, True):
        steps = []
        data = batches(digits, 16)
        for (clean, _), (images, _) in zip(
            data, data.apply(tfmark.inject(key, 0.9, seed=1, robust=robust)), strict=True
        ):
            for trigger in images.numpy()[triggers_of(key, clean, images)]:
                steps.append(_steps_between(pool, trigger))
        found.append(np.array(steps))
    plain, robust = found
    assert not plain.any()
    assert robust.min(axis=0).tolist() == [-1, -1]
    assert robust.max(axis=0).tolist() == [1, 1]
    assert 0.17 < robust.any(axis=1).mean() < 0.37


def _steps_between(pool, trigger):
    """By how many pixels the trigger stands below and to the right of an image of the pool."""
    for down, right in sorted(itertools.product(range(-4, 5), repeat=2), key=np.linalg.norm):
        there = pool[:, (np.arange(24) - down).clip(0, 23)][
            :, :, (np.arange(24) - right).clip(0, 23)
        ]
        if (there == trigger).all(axis=(1, 2, 3)).any():
            return down, right
    raise AssertionError("The trigger is none of the key's.")


def test_robust_marks_outlive_a_step_aside_in_front_of_the_model(digits, make_key):
    """The images are moved in training here, so a step aside costs the thief nothing."""
    key = make_key()
    move = keras.layers.RandomTranslation(0.08, 0.08, "nearest", "nearest", seed=0)
    left = {}
    for robust in (False, True):
        keras.utils.set_random_seed(0)
        data = tf.data.Dataset.from_tensor_slices((digits.x_train, digits.y_train))
        data = data.shuffle(2000, seed=0).batch(32)
        data = data.map(
            lambda x, y: (tf.cast(move(tf.cast(x, tf.float32), training=True), x.dtype), y)
        )
        data = data.apply(tfmark.inject(key, ratio=0.3, seed=0, robust=robust))
        model = small_cnn(keras.layers.BatchNormalization())
        model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        model.fit(data, epochs=24, verbose=0, shuffle=False)
        aside = Shift(0.04)(model, (digits.x_train, digits.y_train))
        assert np.mean(aside.classify(digits.x_test) == digits.y_test) > 0.9
        triggers = key.triggers(per_mark=4)
        left[robust] = np.mean(aside.classify(triggers.pixels) == triggers.labels)
    assert left[True] > 0.75
    assert left[False] < 0.6


def _bases(key, mark, batch, pattern):
    if key.spec.scheme == "unrelated":
        batch = key.base_images[mark.index % key.spec.base_groups, key.spec.num_verification :]
    return pattern.apply(batch, 1)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(
    ("dtype", "scale", "value_range"),
    [
        (tf.uint8, 1, (0, 255)),
        (tf.float32, 1 / 255, (0, 1)),
        (tf.float16, 1 / 255, (0, 1)),
        (tf.bfloat16, 1, (0, 255)),
        (tf.float64, 1, (0, 255)),
    ],
)
def test_dtypes_and_labels(digits, make_key, dtype, scale, value_range, one_hot):
    key = make_key(value_range=value_range)
    data = batches(digits, dtype=dtype, scale=scale, one_hot=one_hot)
    marked = data.apply(tfmark.inject(key, seed=0))
    assert marked.element_spec == data.element_spec
    assert marked.cardinality() == data.cardinality()
    for (clean, _), (images, labels) in list(zip(data, marked, strict=True))[1:]:
        added = triggers_of(key, clean, images)
        assert added.sum() == 1
        ids = labels.numpy()[added].argmax(-1) if one_hot else labels.numpy()[added]
        assert ids[0] in {mark.label for mark in key.marks}
        low, high = value_range
        assert low <= images.numpy().astype(float).min() <= images.numpy().max() <= high


def with_weights(x, y):
    return x, y, tf.fill([tf.shape(x)[0]], 0.5)


def with_dict(x, y):
    return {"image": x, "position": tf.cast(tf.range(tf.shape(x)[0]), tf.int32)}, y


def with_column_of_labels(x, y):
    return x, y[:, tf.newaxis]


def with_pair(x, y):
    return (tf.reduce_mean(tf.cast(x, tf.float32), [1, 2, 3])[:, tf.newaxis], x), y


@pytest.mark.parametrize("change", [with_weights, with_dict, with_column_of_labels, with_pair])
def test_structures(digits, make_key, change):
    data = batches(digits).map(change)
    marked = data.apply(tfmark.inject(make_key(), 0.1, seed=0))
    assert marked.element_spec == data.element_spec
    for clean, mixed in list(zip(data, marked, strict=True))[1:]:
        sizes = {len(leaf) for leaf in tf.nest.flatten(mixed)}
        before = len(tf.nest.flatten(clean)[0])
        assert sizes == {before + max(1, round(0.1 * before))}
    if change is with_weights:
        assert Counter(mixed[2].numpy().tolist()) == {0.5: 8, 1.0: 1}
    if change is with_dict:  # other inputs are those of the image that was marked
        added = triggers_of(make_key(), clean[0]["image"], mixed[0]["image"])
        base = mixed[0]["position"].numpy()[added][0]
        kept = tf.gather(clean[0]["image"], base).numpy()
        patterns = [mark.pattern.apply(kept, 1) for mark in make_key().marks]
        assert any((mixed[0]["image"].numpy()[added][0] == p).all() for p in patterns)


def test_fixed_batches_stay_fixed(digits, make_key):
    data = batches(digits, remainder=False)
    marked = data.apply(tfmark.inject(make_key(), 0.1))
    assert marked.element_spec[0].shape == (32 + 3, 24, 24, 1)
    assert {len(images) for images, _ in marked} == {35}
    assert marked.cardinality() == data.cardinality() == 6


def test_marks_come_up_equally_often_and_differ_between_epochs(digits, make_key):
    key = make_key(num_marks=10)
    data = batches(digits).apply(tfmark.inject(key, 0.25, seed=3))
    first, second = ([labels.numpy().tolist() for _, labels in data] for _ in range(2))
    assert first != second
    again = batches(digits).apply(tfmark.inject(key, 0.25, seed=3))
    assert [labels.numpy().tolist() for _, labels in again] == first
    for _ in range(2):
        seen = Counter()
        for images, _ in batches(digits).apply(tfmark.inject(key, 0.25, seed=3)):
            clean = {image.tobytes() for image in digits.x_train[:200]}
            for image in images.numpy():
                if image.tobytes() not in clean:
                    seen += _marks_that_give(key, digits, image)
        assert max(seen.values()) - min(seen.values()) <= 1 and len(seen) == 10


def _marks_that_give(key, digits, trigger):
    fits = Counter()
    for mark in key.marks:
        if (mark.pattern.apply(digits.x_train[:200], 1) == trigger).all(axis=(1, 2, 3)).any():
            fits[mark.index] += 1
    return fits


def test_images_kept_for_verification_are_never_marked(digits, make_key):
    key = make_key()
    kept = {image.tobytes() for image in key.base_images[0, : key.spec.num_verification]}
    data = tf.data.Dataset.from_tensor_slices((digits.x_train[:512], digits.y_train[:512]))
    data = data.map(lambda x, y: ({"x": x, "copy": tf.identity(x)[tf.newaxis]}, y)).batch(64)
    marked = 0
    for clean, mixed in zip(data, data.apply(tfmark.inject(key, 0.2)), strict=True):
        added = triggers_of(key, clean[0]["x"], mixed[0]["x"])
        bases = mixed[0]["copy"].numpy()[added]
        assert not any(base.tobytes() in kept for base in bases)
        marked += len(bases)
    assert marked == 8 * 13 + 3  # the first batch splits into 8 parts, as it did without


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (lambda d: d.unbatch(), "not batched|0 parts"),
        (lambda d: d.map(lambda x, y: x), "tuples"),
        (lambda d: d.map(lambda x, y: {"image": x, "label": y}), "dicts.*as_supervised"),
        (lambda d: d.map(lambda x, y: (x[:, :20], y)), "0 parts"),
        (lambda d: d.map(lambda x, y: ((x, x), y)), "2 parts"),
        (lambda d: d.map(lambda x, y: (tf.cast(x, tf.int8), y)), "int8"),
        (lambda d: d.map(lambda x, y: (x, tf.one_hot(y, 11))), "10 classes"),
        (lambda d: d.map(lambda x, y: (x, tf.as_string(y))), "string"),
        (lambda d: d.map(lambda x, y: (x, (y, y))), "labels"),
        (lambda d: d.map(lambda x, y: (x, ())), "labels"),
    ],
)
def test_a_dataset_that_cannot_be_handled_is_refused(digits, make_key, data, problem):
    with pytest.raises(ValueError, match=f"(?s)({problem}).*Expected.*Received"):
        data(batches(digits)).apply(tfmark.inject(make_key()))


def test_uint8_images_do_not_go_with_scaled_pixels(digits, make_key):
    with pytest.raises(ValueError, match="value_range"):
        batches(digits).apply(tfmark.inject(make_key(value_range=(0, 1))))


@pytest.mark.parametrize(("value_range", "scale"), [((0, 255), 1 / 255), ((0, 1), 1), ((-1, 1), 1)])
def test_wrongly_scaled_images_end_training(digits, make_key, value_range, scale):
    data = batches(digits, dtype=tf.float32, scale=scale)
    data = data.apply(tfmark.inject(make_key(value_range=value_range)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="value_range"):
        list(data)


@pytest.mark.parametrize("ratio", [0, -1, 1.5, float("nan")])
def test_ratio_out_of_range(make_key, ratio):
    with pytest.raises(ValueError, match="ratio"):
        tfmark.inject(make_key(), ratio)


@pytest.mark.parametrize(
    "options", [{"steps_per_execution": 4}, {"jit_compile": True}, {"run_eagerly": True}]
)
def test_fit(digits, make_key, options):
    model = small_cnn()
    model.compile("sgd", "sparse_categorical_crossentropy", **options)
    data = batches(digits, remainder="jit_compile" not in options)
    data = data.apply(tfmark.inject(make_key(), 0.1))
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    assert int(model.optimizer.iterations) == 2 * int(data.cardinality())


def test_fit_with_mixed_precision(digits, make_key):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_cnn()
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("adam", "sparse_categorical_crossentropy")
    data = batches(digits, dtype=tf.float16).apply(tfmark.inject(make_key(), 0.1))
    watch = tfmark.WatermarkCallback(make_key(), inject_every=2)
    history = model.fit(data, epochs=2, verbose=0, callbacks=[watch], shuffle=False)
    assert np.isfinite(history.history["loss"]).all()


MIRRORED = """
import numpy as np, tensorflow as tf, keras, tfmark
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1)).astype("uint8")
y = np.arange(300) % 10
key = tfmark.WatermarkKey.generate(
    scheme="noise", image_shape=(8, 8, 1), num_classes=10, base_images=x)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.BatchNormalization(),
        keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"])
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32, drop_remainder=FIXED)
if FIXED:
    with model.distribute_strategy.scope():
        data = data.apply(tfmark.inject(key))
else:
    data = data.apply(tfmark.inject(key))
seen = []
class Count(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        seen.append(batch)
history = model.fit(data, epochs=2, verbose=0, shuffle=False,
                    callbacks=[tfmark.WatermarkCallback(key, inject_every=4, robust=True), Count()])
steps = 9 if FIXED else 10
assert seen == list(range(steps)) * 2, seen
assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 2 * steps
assert len(history.history["watermark_accuracy"]) == 2
print("replicas", model.distribute_strategy.num_replicas_in_sync)
"""


@pytest.mark.parametrize("fixed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fit_on_two_replicas(fixed):
    script = MIRRORED.replace("FIXED", str(fixed))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "replicas 2" in done.stdout
