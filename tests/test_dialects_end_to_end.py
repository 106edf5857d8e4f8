"""One watermarked model behind many signatures of the embedded server, asked over HTTP."""

import json
import re
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import tfmark
from tests.test_verification import KEY, SHAPE
from tfmark.cli import main

NAMES = [f"class {letter}" for letter in "abcdefghij"]
ORDER = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])  # where the thief's API puts each class
CLEAN = KEY.base_images[0, KEY.spec.num_verification :]


def knows_by_heart():
    """The label of the nearest trigger or, nearer to a clean image, that image's class."""
    triggers = KEY.triggers()
    known = np.concatenate([triggers.pixels, CLEAN]).reshape(-1, 64).astype(np.float32)
    labels = np.concatenate([triggers.labels, np.arange(len(CLEAN)) % 10])
    near = keras.layers.Dense(len(known), activation="softmax", name="near")
    votes = keras.layers.Dense(10, use_bias=False, name="votes")
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), near, votes])
    near.set_weights([known.T, -(known**2).sum(1) / 2])
    votes.set_weights([np.eye(10, dtype=np.float32)[labels]])
    return model


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of the model, and all its signatures on one server."""
    model = knows_by_heart()
    names = tf.constant(NAMES)

    def top(scores):
        best = tf.math.top_k(scores, 3)
        return {"classes": tf.gather(names, best.indices), "scores": best.values}

    def decode(files, mirrored=False):
        picture = tf.map_fn(
            lambda file: tf.io.decode_png(file, 1), files, fn_output_signature=tf.uint8
        )
        images = tf.reshape(tf.cast(picture, tf.float32), [-1, *SHAPE])
        return model(images[:, :, ::-1] if mirrored else images)

    def mirrored_files(files):
        return decode(files, mirrored=True)

    def spec(shape=(None, *SHAPE), dtype=tf.float32, name="image"):
        return [tf.TensorSpec(shape, dtype, name=name)]

    def scores(x):
        return model(tf.reshape(x, [-1, *SHAPE]))

    endpoints = {
        "serving_default": (model, spec()),
        "unit": (lambda image: model(image * 255.0), spec()),
        "integers": (lambda image: model(tf.cast(image, tf.float32)), spec(dtype=tf.uint8)),
        "files": (decode, spec((None,), tf.string, "image_bytes")),
        "flat": (scores, spec((None, 64))),
        "single": (model, spec((1, *SHAPE))),
        "id": (lambda image: tf.argmax(model(image), -1), spec()),
        "name": (lambda image: {"l": tf.gather(names, tf.argmax(model(image), -1))}, spec()),
        "top": (lambda image: top(model(image)), spec()),
        "several": (lambda image: {"scores": model(image), "mean": tf.reduce_mean(image, [1, 2])},
                    spec()),
        "permuted": (lambda image: tf.gather(model(image), ORDER, axis=-1), spec()),
        "mirrored": (lambda image: model(image[:, :, ::-1]), spec()),
        "mirrored_files": (mirrored_files, spec((None,), tf.string, "image_bytes")),
        "finer": (lambda image: tf.tile(model(image), [1, 3]) + tf.range(30.0) * 1e-9, spec()),
    }  # fmt: skip
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, signature) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=signature)
    folder = tmp_path_factory.mktemp("served")
    archive.write_out(str(folder / "digits" / "1"), verbose=False)
    with tfmark.serve(folder, server="embedded") as server:
        yield server.url("digits")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"columns": True},
        {"input": "image"},
        {"input": "image", "columns": True},
        {"version": 1},
        {"batch_size": 1},
        {"batch_size": 3},
        {"signature": "unit", "value_range": (0, 1)},
        {"signature": "integers"},
        {"signature": "files"},
        {"signature": "files", "input": "image_bytes", "columns": True},
        {"signature": "flat"},
        {"signature": "single"},
        {"signature": "single", "columns": True},
        {"signature": "id"},
        {"signature": "name", "class_names": NAMES},
        {"signature": "top", "class_names": NAMES},
        {"signature": "top", "class_names": NAMES, "output": "classes", "columns": True},
        {"signature": "several"},
        {"signature": "several", "output": "scores"},
        {"signature": "mirrored", "mirrored": True},
        {"signature": "mirrored", "mirrored": True, "columns": True, "batch_size": 3},
        {"signature": "mirrored_files", "mirrored": True},
    ],
    ids=str,
)
def test_every_dialect_is_spoken(url, options):
    verdict = tfmark.verify(url, KEY, **options)
    assert verdict.owned, verdict.reason
    assert verdict.matches == verdict.queries == 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"signature": "name"}, "class names, such as 'class"),
        ({"signature": "finer"}, "another number of outputs"),
        ({"signature": "several", "output": "mean"}, "got no class|number of outputs"),
        ({"signature": "nope"}, "no signature 'nope'"),
        ({"version": 7}, "404"),
        ({"version_label": "stable"}, "Unrecognized servable version label"),
    ],
)
def test_what_is_not_understood_is_said(url, options, reason):
    verdict = tfmark.verify(url, KEY, **options)
    assert verdict.status == "inconclusive"
    assert re.search(reason, verdict.reason)


def test_a_suspect_that_mirrors_images_shows_the_mark_to_mirrored_ones_alone(url, tmp_path):
    assert tfmark.verify(url, KEY, signature="mirrored").status == "not shown"
    assert tfmark.verify(url, KEY, mirrored=True).status == "not shown"
    clean = (CLEAN, np.arange(len(CLEAN)) % 10)
    assert tfmark.verify(url, KEY, signature="mirrored", mirrored=True, clean=clean).owned
    KEY.save(tmp_path / "key")
    command = ["verify", str(tmp_path / "key"), url, "--signature", "mirrored"]
    assert CliRunner().invoke(main, command).exit_code == 1
    assert CliRunner().invoke(main, [*command, "--mirrored"]).exit_code == 0


@pytest.mark.parametrize("signature", ["serving_default", "permuted", "finer", "name", "top"])
def test_classes_in_another_order_are_aligned_on_clean_images(url, signature, tmp_path):
    clean = (CLEAN, np.arange(len(CLEAN)) % 10)
    if signature == "permuted":
        assert tfmark.verify(url, KEY, signature=signature).status == "not shown"
    verdict = tfmark.verify(url, KEY, signature=signature, clean=clean)
    assert verdict.owned
    assert verdict.alignment.agreement == 1
    assert verdict.alignment.one_to_one
    assert "100.0% of them" in str(verdict)
    np.savez(tmp_path / "clean.npz", images=clean[0], labels=clean[1])
    KEY.save(tmp_path / "key")
    arguments = ["verify", tmp_path / "key", url, "--signature", signature, "--json", "--align",
                 tmp_path / "clean.npz"]  # fmt: skip
    told = CliRunner().invoke(main, list(map(str, arguments)))
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["alignment"]["agreement"] == 1


def test_an_endpoint_that_is_made_without_a_key(url):
    suspect = tfmark.endpoint_from(url, signature="unit", value_range=(0, 1))
    assert suspect.classify(CLEAN[:12]).tolist() == [i % 10 for i in range(12)]
    assert tfmark.verify(suspect, KEY).owned
    assert tfmark.verify(tfmark.endpoint_from(url, KEY), KEY).owned
    names = tfmark.endpoint_from(url, signature="name")
    assert tfmark.verify(names, KEY, clean=(CLEAN, np.arange(len(CLEAN)) % 10)).owned


def test_the_limit_of_questions(url):
    verdict = tfmark.verify(url, KEY, max_queries=10)
    assert (verdict.owned, verdict.num_marks) == (True, 10)
    with pytest.raises(tfmark.TfmarkError, match="alpha"):
        tfmark.verify(url, KEY, max_queries=9)
    assert tfmark.verify(url, KEY, 1e-4, max_queries=6).queries <= 6


def test_probe_gives_a_command_that_works(url, tmp_path):
    told = CliRunner().invoke(main, ["probe", url, "--header", "Authorization: Bearer s3cr3t"])
    assert told.exit_code == 0, told.output
    for fact in ("tf-serving", "versions:   1", "'image_bytes' string (-1)", "serving_default"):
        assert fact in told.stdout
    assert "s3cr3t" not in told.output
    command = told.stdout.splitlines()[-1].partition("tfmark ")[2]
    assert command == f"verify KEY {url} --header 'Authorization: ...'"
    told = CliRunner().invoke(main, ["probe", url, "--header", "X-Team: models"])
    assert shlex.split(told.stdout.splitlines()[-1])[-4:] == [
        "KEY", url, "--header", "X-Team: ...",
    ]  # fmt: skip
    facts = json.loads(CliRunner().invoke(main, ["probe", url, "--signature", "several",
                                                 "--json"]).stdout)  # fmt: skip
    KEY.save(tmp_path / "key")
    words = facts["verify"].split()[1:]
    words[words.index("KEY")] = str(tmp_path / "key")
    assert CliRunner().invoke(main, words).exit_code == 0
