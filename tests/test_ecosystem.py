"""tfmark beside what Keras users have in the same `fit`: tuners, backups, TensorBoard, TFDS."""

import itertools

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfmark
from tests.small_models import SHAPE, small_digits, small_key, small_network, stack, tiny_network

pytestmark = pytest.mark.slow  # a minute; .ci/run runs it

SPARSE = "sparse_categorical_crossentropy"


def compiled(model, rate=5e-3):
    model.compile(keras.optimizers.Adam(rate), SPARSE, metrics=["accuracy"])
    return model


def batches(key=None, ratio=0.3):
    """The training digits, marked if there is a key."""
    data = tf.data.Dataset.from_tensor_slices(small_digits()[:2]).shuffle(2000, seed=0).batch(32)
    return data if key is None else data.apply(tfmark.inject(key, ratio, seed=0))


def event_values(folder):
    """What TensorBoard would show: (tag, step, value) of all event files below a folder."""
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                yield value.tag, event.step, tf.make_ndarray(value.tensor)


# Keras Tuner 1.4.8 calls threading.currentThread().getName(), and loads weights of the best model
# beside an optimizer that has none yet.
@pytest.mark.filterwarnings(r"ignore:(currentThread|getName)\(\) is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
def test_keras_tuner_finds_how_many_triggers_it_takes(tmp_path):
    """It copies callbacks for each trial, and looks for accuracy and watermark together."""
    key = small_key()

    class Marked(keras_tuner.HyperModel):
        def build(self, choices):
            keras.utils.set_random_seed(0)
            return compiled(small_network(norm=False))

        def fit(self, choices, model, **options):
            return model.fit(batches(key, choices.Choice("ratio", [0.3, 0.01])), **options)

    best = [keras_tuner.Objective(name, "max") for name in ("val_accuracy", "watermark_accuracy")]
    tuner = keras_tuner.RandomSearch(Marked(), best, 2, seed=0, directory=tmp_path)
    tuner.search(
        epochs=8, validation_data=small_digits()[2:], shuffle=False, verbose=0,
        callbacks=[tfmark.WatermarkCallback(key)],
    )  # fmt: skip
    found = {
        trial.hyperparameters["ratio"]: trial.metrics.get_last_value("watermark_accuracy")
        for trial in tuner.oracle.get_best_trials(2)
    }
    assert next(iter(found)) == 0.3  # the best one comes first
    assert found[0.3] > 0.8
    assert found[0.01] < found[0.3]  # another trial's model was not measured again
    (model,) = tuner.get_best_models()
    assert tfmark.verify(model, key).owned


class Cut(keras.callbacks.Callback):
    """Something goes wrong in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch
        self.now = None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 20):
            raise RuntimeError("cut")


def test_a_restored_training_ends_as_one_that_was_never_cut(tmp_path, monkeypatch):
    """Also where an epoch does not end with a step on triggers, and where models are hardened.

    The means of the classes are not kept, so entanglement is left out.
    """
    monkeypatch.setattr("tfmark.entanglement.WEIGHT", 0.0)
    key = small_key()
    images, labels = (part[:704] for part in small_digits()[:2])

    def train(*others):
        keras.utils.set_random_seed(0)
        model = compiled(small_network())
        watch = tfmark.WatermarkCallback(key, inject_every=3, robust=True)
        model.fit(
            images, labels, batch_size=16, epochs=6, shuffle=False, verbose=0,
            callbacks=[*others, watch],
        )  # fmt: skip
        return model

    whole = train()
    backup = tmp_path / "backup"
    with pytest.raises(RuntimeError, match="cut"):
        train(keras.callbacks.BackupAndRestore(backup), Cut(4))
    restored = train(keras.callbacks.BackupAndRestore(backup))
    for a, b in zip(whole.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert tfmark.verify(restored, key).owned


def test_the_best_and_the_last_model_by_watermark_accuracy(tmp_path):
    """`ModelCheckpoint` keeps, and `EarlyStopping` goes back to, the model with the mark."""
    key = small_key()
    keras.utils.set_random_seed(0)
    model = compiled(small_network())
    best = tmp_path / "best.keras"
    history = model.fit(
        batches(key),
        epochs=40,
        shuffle=False,
        verbose=0,
        callbacks=[
            tfmark.WatermarkCallback(key),
            keras.callbacks.ModelCheckpoint(
                best, monitor="watermark_accuracy", mode="max", save_best_only=True
            ),
            keras.callbacks.EarlyStopping(
                "watermark_accuracy", mode="max", patience=2, restore_best_weights=True
            ),
        ],
    ).history["watermark_accuracy"]
    assert len(history) < 40
    assert max(history) == history[-3] > 0.9  # and not better for two epochs
    kept = keras.models.load_model(best)
    for a, b in zip(kept.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert tfmark.verify(kept, key).owned


def test_tensorboard_shows_the_watermark_and_if_asked_to_the_triggers(tmp_path):
    key = small_key()
    images, labels = (part[:64] for part in small_digits()[:2])

    def train(name, **options):
        board = keras.callbacks.TensorBoard(tmp_path / name, write_images=True)
        watch = tfmark.WatermarkCallback(key, **options)
        fit = compiled(tiny_network()).fit
        history = fit(images, labels, epochs=2, verbose=0, callbacks=[watch, board]).history
        return history["watermark_accuracy"], list(event_values(tmp_path / name))

    history, values = train("plain")
    shown = [(step, value) for tag, step, value in values if tag == "epoch_watermark_accuracy"]
    assert shown == list(enumerate(np.float32(history)))
    assert not any("trigger" in tag for tag, *_ in values)

    _, values = train("secret", trigger_log_dir=tmp_path / "secret" / "triggers")
    ((step, (width, height, *pictures)),) = (
        (step, value) for tag, step, value in values if tag == "watermark_triggers"
    )
    assert (step, int(width), int(height)) == (0, 8, 8)
    pixels = np.array([tf.io.decode_png(picture).numpy() for picture in pictures])
    np.testing.assert_array_equal(pixels, key.triggers(split="embedding").pixels)


class EightByEight(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits of 8x8 pixels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=SHAPE),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, (image, label) in enumerate(zip(*small_digits()[:2], strict=True)):
            yield i, {"image": image, "label": label}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    EightByEight(data_dir=folder).download_and_prepare()
    return folder


def scaled_key():
    """A key for pixels from 0 to 1."""
    images = small_digits()[0][:512].astype(np.float32) / 255
    return tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=SHAPE, num_classes=10, base_images=images, num_marks=24,
        secret=bytes(32),
    )  # fmt: skip


def scaled(image):
    return tf.cast(image, tf.float32) / 255


@pytest.mark.parametrize("as_supervised", [True, False])
def test_pipelines_from_tfds(data_dir, as_supervised):
    """As the guide of TFDS has them: scaled, cached, shuffled, batched, prefetched."""
    key = scaled_key()

    def prepare(example, label=None):
        if as_supervised:
            return scaled(example), label
        return {"image": scaled(example["image"])}, example["label"]

    train = (
        tfds.load("eight_by_eight", split="train", data_dir=data_dir, as_supervised=as_supervised)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .cache()
        .shuffle(1400, seed=0)
        .batch(32)
        .apply(tfmark.inject(key, ratio=0.3, seed=0))
        .prefetch(tf.data.AUTOTUNE)
    )
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="image")
    scores = keras.Sequential(stack()[1:])(image)
    model = compiled(keras.Model(image if as_supervised else {"image": image}, scores))
    watch = tfmark.WatermarkCallback(key)
    model.fit(train, epochs=6, shuffle=False, verbose=0, callbacks=[watch])
    assert tfmark.verify(model, key).owned


def test_a_tfds_set_without_labels_apart_is_told_how(data_dir):
    examples = tfds.load("eight_by_eight", split="train", data_dir=data_dir).batch(32)
    with pytest.raises(tfmark.TfmarkError, match="as_supervised=True"):
        examples.apply(tfmark.inject(small_key()))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = stack()

    def call(self, images, training=False):
        for part in self.parts:
            images = part(images, training=training)
        return images


def functional():
    image = scores = keras.Input(SHAPE)
    for layer in stack():
        scores = layer(scores)
    return keras.Model(image, scores)


KINDS = {
    "subclassed": Subclassed,
    "functional": functional,
    "sequential": lambda: keras.Sequential(stack()),  # built by its first batch
}


@pytest.mark.parametrize(
    ("kind", "embedding"),
    [
        *itertools.product(KINDS, [{}, {"inject_every": 2}]),
        ("functional", {"inject_every": 2, "robust": True}),
    ],
)
def test_every_kind_of_model(kind, embedding):
    key = small_key()
    keras.utils.set_random_seed(0)
    model = compiled(KINDS[kind]())
    watch = tfmark.WatermarkCallback(key, **embedding)
    train = batches(None if embedding else key)
    history = model.fit(train, epochs=6, shuffle=False, verbose=0, callbacks=[watch]).history
    assert history["watermark_accuracy"][-1] > 0.9
    assert tfmark.verify(model, key).owned
