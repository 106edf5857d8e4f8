import math

import numpy as np
import pytest
from scipy import stats

import tfmark
from tfmark import statistics


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("queries", [1, 7, 48])
def test_evidence_is_a_martingale_under_the_null(num_classes, queries):
    """Its expectation is 1 whatever the number of answers: the premise of Ville's inequality."""
    matches = np.arange(queries + 1)
    probability = stats.binom.pmf(matches, queries, 1 / num_classes)
    evidence = np.exp(statistics.log_evidence(matches, queries, num_classes))
    assert (probability * evidence).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("num_classes", "questions"), [(2, 34), (3, 21), (5, 15), (10, 10), (100, 5), (1000, 4)]
)
def test_questions_that_prove_an_intact_mark(num_classes, questions):
    assert statistics.matches_to_prove(0, 0, num_classes, 1e-9) == questions


@pytest.mark.parametrize(
    ("num_classes", "marks"), [(2, 256), (3, 232), (5, 96), (10, 48), (100, 24), (1000, 16)]
)
def test_default_num_marks(num_classes, marks):
    assert tfmark.default_num_marks(num_classes) == marks
    if marks < 256:
        assert statistics.power(marks, num_classes, 1e-9, 0.6) >= 0.95
        assert statistics.power(marks - 8, num_classes, 1e-9, 0.6) < 0.95


@pytest.mark.slow
def test_power_is_that_of_simulated_suspects(rng):
    """The exact recursion against plain simulation of the stopping rule."""
    runs, owned = 4000, 0
    for answers in rng.random((runs, 48)) < 0.6:
        matches = np.cumsum(answers)
        for queries in range(1, 49):
            if statistics.log_evidence(matches[queries - 1], queries, 10) >= math.log(1e9):
                owned += 1
                break
            if statistics.is_hopeless(matches[queries - 1], queries, 48, 10, 1e-9):
                break
    assert owned / runs == pytest.approx(statistics.power(48, 10, 1e-9, 0.6), abs=0.015)


def test_hopeless_means_that_no_further_matches_help():
    for matches in range(30):
        if statistics.is_hopeless(matches, 30, 48, 10, 1e-9):
            weak = matches * math.log(6) + (30 - matches) * math.log(0.4 * 10 / 9)
            best = statistics.log_evidence(matches + 18, 48, 10)
            assert best < math.log(1e9) or weak <= math.log(1e-3)


@pytest.mark.parametrize("case", [(0, 10, 2), (3, 10, 10), (48, 48, 10), (200, 256, 2)])
def test_binomial_tail_is_exact(case):
    matches, queries, num_classes = case
    expected = stats.binom.sf(matches - 1, queries, 1 / num_classes)
    assert statistics.binomial_tail(*case) == pytest.approx(expected, rel=1e-9)


def _constant(images, bases, public):
    return np.full(len(images), 3)


def _uniform(images, bases, public):
    return np.random.default_rng(public["number"]).integers(10, size=len(images))


def _biased(images, bases, public):
    draw = np.random.default_rng(public["number"])
    return draw.choice(10, size=len(images), p=[0.55] + [0.05] * 9)


def _copies_the_base_image(images, bases, public):
    """An innocent model: it answers the class of the nearest clean image."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    clean = bases.reshape(len(bases), -1).astype(np.float32)
    distance = (clean**2).sum(1) - 2 * flat @ clean.T
    return public["classes"][distance.argmin(axis=1)]


def _knows_all_but_the_secret(images, bases, public):
    """An adversary: it spreads its answers, a different guess at the labels for each commitment."""
    start = int(public["commitment"], 16) + public["asked"]
    return (np.arange(start % 10, start % 10 + len(images)) * 7) % 10


@pytest.mark.parametrize(
    "answer", [_constant, _uniform, _biased, _copies_the_base_image, _knows_all_but_the_secret]
)
def test_innocent_suspects_are_accused_no_more_often_than_alpha_says(answer, digits):
    """Fresh keys against one answerer, through the real `verify`."""
    runs, alpha, accused = 400, 0.05, 0
    bases, classes = digits.x_train[:96, ::3, ::3], digits.y_train[:96]
    for number in range(runs):
        key = tfmark.WatermarkKey.generate(
            scheme="noise", image_shape=(8, 8, 1), num_classes=10, base_images=bases,
            num_marks=24, secret=number.to_bytes(32, "big"),
        )  # fmt: skip
        public = {"number": number, "commitment": key.commitment, "asked": 0, "classes": classes}

        class Suspect:
            def classify(self, images, public=public):
                ids = answer(images, bases, public)
                public["asked"] += len(images)
                return ids

        accused += tfmark.verify(Suspect(), key, alpha=alpha).owned
    # Were the rate above alpha, so few accusations would be luck of less than one in a thousand.
    assert accused <= stats.binom.ppf(0.999, runs, alpha)
