"""The main job on real input: embed, export, serve, and verify from another process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmark

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def served(marked, innocent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    marked[0].export(folder / "marked" / "1", verbose=False)
    innocent.export(folder / "innocent" / "1", verbose=False)
    with tfmark.serve(folder, server="embedded") as server:
        yield server


def verify(key_file, url):
    command = [Path(sys.executable).parent / "tfmark", "verify", key_file, url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_marked_model_is_recognised_and_the_innocent_one_is_not(served, make_key, tmp_path):
    make_key().save(tmp_path / "owner.tfmark")
    code, verdict = verify(tmp_path / "owner.tfmark", served.url("marked"))
    assert (code, verdict["status"]) == (0, "owned")
    assert verdict["queries"] <= 12
    assert verdict["p_value"] <= 1e-9
    code, verdict = verify(tmp_path / "owner.tfmark", served.url("innocent"))
    assert (code, verdict["status"]) == (1, "not shown")


def test_another_owner_gets_nothing(served, make_key):
    for number in range(1, 4):
        assert not tfmark.verify(served.url("marked"), make_key(number=number)).owned


def test_the_mark_survives_a_mild_thief(marked, make_key, digits):
    """Fine-tuned on data of the thief's own, then half of the weights of each layer set to zero."""
    stolen = keras.models.clone_model(marked[0])
    stolen.set_weights(marked[0].get_weights())
    stolen.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    stolen.fit(digits.x_test, digits.y_test, batch_size=32, epochs=3, verbose=0)
    for variable in stolen.trainable_variables:
        weights = variable.numpy()
        small = np.abs(weights) < np.quantile(np.abs(weights), 0.5)
        variable.assign(np.where(small & (weights.ndim > 1), 0, weights))
    assert tfmark.verify(stolen, make_key()).owned


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras 3.15, of any tf.data set
def test_the_example_of_the_readme_runs(digits, tmp_path, monkeypatch):
    """On digits of 28x28 pixels; what the example takes for granted is made here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # the embedded server, whatever else is installed
    images = np.pad(digits.x_train, [(0, 0), (2, 2), (2, 2), (0, 0)])
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    train = tf.data.Dataset.from_tensor_slices((images, digits.y_train)).batch(128)
    names = {"model": model, "train": train, "x_train": images, "y_train": digits.y_train}
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        exec(example, names)
    assert names["verdict"].status in ("owned", "not shown")
    assert (tmp_path / "owner.tfmark").stat().st_mode & 0o777 == 0o600
