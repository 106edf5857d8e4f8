"""Verdicts: `verify` against suspects of known behaviour."""

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import binom

import tfmark
from tests.http_server import Reply, http_server, watermarked
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, UnreachableError

SHAPE = (8, 8, 1)


def new_key(classes=10, marks=48, shape=SHAPE):
    images = np.random.default_rng(classes).integers(0, 256, (2 * marks, *shape), np.uint8)
    return tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=shape, num_classes=classes, num_marks=marks,
        base_images=images, secret=bytes(range(32)),
    )  # fmt: skip


KEY = new_key()


class Suspect:
    """Knows the labels of all marks but those in `misses`; fails after `patience` questions."""

    def __init__(self, key, misses=(), patience=math.inf, missing=()):
        triggers = key.triggers()
        self.index = {pixels.tobytes(): i for i, pixels in enumerate(triggers.pixels)}
        answers = triggers.labels.copy()
        answers[list(misses)] = (answers[list(misses)] + 1) % key.spec.num_classes
        answers[list(missing)] = -1
        self.answers, self.patience, self.asked = answers, patience, []

    def classify(self, images):
        indices = [self.index[image.tobytes()] for image in images]
        self.asked += indices
        if len(self.asked) > self.patience:
            raise UnreachableError("It went away.")
        return self.answers[indices]


class Fixed:
    """Answers the same, whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer

    def classify(self, images):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(len(images)) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("classes", "marks", "misses", "status", "fewest", "most"),
    [
        (10, 48, (), "owned", 10, 12),
        (10, 48, (3, 25), "owned", 11, 16),
        (10, 48, range(2, 48, 5), "owned", 13, 22),
        (10, 48, range(48), "not shown", 5, 12),
        (10, 48, range(1, 48, 2), "owned", 20, 48),
        (10, 48, [i for i in range(48) if i % 4], "not shown", 12, 48),
        (2, 64, (), "owned", 30, 40),
        (2, 64, range(1, 64, 2), "not shown", 30, 64),
        (100, 24, (), "owned", 5, 6),
        (100, 24, range(24), "not shown", 3, 12),
        (10, 10, (), "owned", 10, 10),
        (10, 10, (9,), "not shown", 10, 10),
    ],
)
def test_verdicts(classes, marks, misses, status, fewest, most):
    key = new_key(classes, marks)
    suspect = Suspect(key, misses)
    verdict = tfmark.verify(suspect, key)
    assert verdict.status == status
    assert verdict.owned == (status == "owned")
    assert fewest <= verdict.queries <= most
    assert suspect.asked == list(range(verdict.queries))  # each mark once, in order
    assert verdict.matches == sum(i not in misses for i in suspect.asked)
    assert (verdict.p_value <= 1e-9) == verdict.owned
    assert verdict.p_value == pytest.approx(0.5**verdict.evidence_bits)
    assert (verdict.tail_p_value is not None) == (verdict.queries == marks)
    if verdict.tail_p_value is not None:
        tail = binom.sf(verdict.matches - 1, marks, 1 / classes)
        assert verdict.tail_p_value == pytest.approx(tail)


@pytest.mark.parametrize("accuracy", [0.95, 0.8])
def test_a_damaged_watermark_is_still_shown(accuracy, rng):
    for _ in range(20):
        suspect = Suspect(KEY, np.flatnonzero(rng.random(48) > accuracy))
        assert tfmark.verify(suspect, KEY).owned


def test_a_suspect_without_the_watermark_costs_few_marks(rng):
    asked = []
    for _ in range(50):
        verdict = tfmark.verify(Fixed(lambda n: rng.integers(0, 10, n)), KEY)
        assert verdict.status == "not shown"
        asked.append(verdict.queries)
    assert np.mean(asked) < 20


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (EndpointError("No such host."), "No such host."),
        (AnswerError("Not JSON."), "Not JSON."),
        (lambda n: np.full(n, -1), "got no class"),
        (lambda n: np.zeros(n - 1, int), "class ids"),
        (lambda n: np.zeros((n, 10), int), "class ids"),
        (np.zeros, "class ids"),
        (lambda n: ["cat"] * n, "class ids"),
        (lambda n: [[1]] * (n - 1) + [[1, 2]], "class ids"),
        (None, "class ids"),
    ],
)
def test_a_suspect_that_cannot_be_asked_is_neither_guilty_nor_cleared(answer, text):
    verdict = tfmark.verify(Fixed(answer), KEY)
    assert (verdict.status, verdict.owned, verdict.matches) == ("inconclusive", False, 0)
    assert verdict.p_value == 1
    assert text in verdict.reason
    assert text in str(verdict)
    assert "could not be asked properly" in str(verdict)


def test_a_suspect_that_goes_away_is_inconclusive_whatever_it_matched():
    verdict = tfmark.verify(Suspect(KEY, misses=(0,), patience=10), KEY)
    assert verdict.status == "inconclusive"
    assert 0 < verdict.matches < verdict.queries == 10
    assert "It went away." in verdict.reason


def test_missing_answers_are_misses():
    verdict = tfmark.verify(Suspect(KEY, missing=(1, 5)), KEY)
    assert verdict.owned
    assert verdict.matches == verdict.queries - 2


@pytest.mark.parametrize("marks", [2, 4, 6, 9, 10])
def test_the_smallest_alpha_is_told_and_can_be_used(marks):
    key = new_key(marks=marks)
    suspect = Suspect(key)
    with pytest.raises(InvalidArgumentError, match="alpha") as caught:
        tfmark.verify(suspect, key, 1e-20)
    assert suspect.asked == []
    smallest = float(re.search(r"at least (\S+):", str(caught.value))[1])
    assert tfmark.verify(suspect, key, smallest).owned
    with pytest.raises(InvalidArgumentError):
        tfmark.verify(suspect, key, smallest * 0.9)


@pytest.mark.parametrize("alpha", [0, 1, -1, 2, math.nan, math.inf])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(InvalidArgumentError, match="between 0 and 1"):
        tfmark.verify(Suspect(KEY), KEY, alpha)


@pytest.mark.parametrize(
    "options", [{"signature": "s"}, {"version": 1}, {"headers": {"A": "s3cr3t"}}, {"timeout": 1.0},
                {"output": "probs"}],
)  # fmt: skip
def test_options_for_an_address_are_refused_for_an_object(options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))) as caught:
        tfmark.verify(Suspect(KEY), KEY, **options)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("endpoint", [None, 5, b"http://localhost:8501/v1/models/m", object()])
def test_other_things_are_no_suspects(endpoint):
    with pytest.raises(InvalidArgumentError, match=type(endpoint).__name__):
        tfmark.verify(endpoint, KEY)


@pytest.mark.parametrize("misses", [(), range(48)])
def test_the_sentence_and_the_facts(misses):
    verdict = tfmark.verify(Suspect(KEY, misses), KEY, alpha=1e-8)
    for part in (f"{verdict.matches} of {verdict.queries} answers", "1e-08", "1/10",
                 "secret and random", f"{verdict.p_value:.2g}"):  # fmt: skip
        assert part in str(verdict)
    assert ("does not show that the suspect is innocent" in str(verdict)) != verdict.owned
    facts = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert facts["sentence"] == str(verdict) == verdict.sentence
    assert facts["owned"] is verdict.owned
    for name in ("status", "p_value", "queries", "matches", "alpha", "num_classes", "num_marks"):
        assert facts[name] == getattr(verdict, name)


def test_over_http_with_headers():
    with http_server(watermarked(KEY)) as server:
        url = server.url + "/v1/models/m"
        verdict = tfmark.verify(url, KEY, headers={"X-Api-Key": "k"}, timeout=5.0)
        posts = [request for request in server.requests if request.method == "POST"]
    assert verdict.owned
    assert len(posts) == 1  # as many questions at once as are needed in any case
    assert all(request.headers["X-Api-Key"] == "k" for request in server.requests)
    with http_server(lambda _: Reply("Go away", 403)) as server:
        verdict = tfmark.verify(server.url + "/v1/models/m", KEY)
    assert verdict.status == "inconclusive"
    assert "403" in verdict.reason


@pytest.fixture(scope="module")
def keras_model():
    """Makes a model that knows all labels by heart: the nearest trigger's."""
    import keras

    triggers = KEY.triggers()
    flat = triggers.pixels.reshape(48, 64).astype(np.float32)

    def make(classes=10, shape=SHAPE, named=False):
        image = keras.Input(shape, name="image")
        near = keras.layers.Dense(48, name="near")
        known = keras.layers.Dense(classes, use_bias=False, name="scores")
        nearest = keras.layers.Softmax()(near(keras.layers.Flatten()(image)))
        inputs = {"image": image} if named else image
        outputs = known(nearest)
        model = keras.Model(inputs, {"scores": outputs, "near": nearest} if named else outputs)
        if shape == SHAPE:
            near.set_weights([flat.T, -(flat**2).sum(1) / 2])
        known.set_weights([np.eye(10, classes, dtype=np.float32)[triggers.labels]])
        return model

    return make


@pytest.mark.parametrize(
    ("options", "output", "status", "text"),
    [
        ({}, None, "owned", ""),
        ({"named": True}, None, "owned", ""),
        ({"named": True}, "scores", "owned", ""),
        ({"named": True}, "near", "inconclusive", "number of outputs"),
        ({"named": True}, "other", "inconclusive", "'other'"),
        ({"classes": 7}, None, "inconclusive", "number of outputs"),
        ({"shape": (9, 8, 1)}, None, "inconclusive", r"(8, 8, 1)"),
    ],
)
def test_a_keras_model_in_memory(keras_model, options, output, status, text):
    verdict = tfmark.verify(keras_model(**options), KEY, output=output)
    assert verdict.status == status
    assert text in verdict.reason
    if verdict.owned:
        assert verdict.matches == verdict.queries <= 12
