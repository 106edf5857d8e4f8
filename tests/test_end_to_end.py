"""The main job on real input: embed, export, serve, and verify from another process."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tfmark


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
