"""The thorough question: exact whatever the suspect does, and marks that it shows again."""

import itertools
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfmark
from tests.http_server import http_server, model
from tests.small_models import SHAPE, small_digits, small_key
from tfmark.answers import NO_ANSWER, AnswerReader, class_ids, votes
from tfmark.attacks import BitDepth, FineTune, InFront, Unlearn
from tfmark.cli import main
from tfmark.errors import AnswerError, InvalidArgumentError, UnreachableError
from tfmark.thorough import ROUNDS, exact_tail, lifts

KEY = small_key()
MARKS, CLASSES = 24, 10
ODD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 1e300])
SCORES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4)),
    elements=ODD | st.floats(-5, 5),
)
bounded = settings(deadline=None, max_examples=60)


def all_labels(found):
    marks, classes = found.shape
    return np.array(list(itertools.product(range(classes), repeat=marks)))


# --- the statistic ------------------------------------------------------------------------------


@bounded
@given(SCORES)
def test_the_tail_counts_all_labels(scores):
    """Whatever was answered: exactly the share of labellings that would look no less like proof."""
    found = lifts(scores)
    sums = np.array([found[range(len(found)), labels].sum() for labels in all_labels(found)])
    for labels, reached in zip(all_labels(found), sums, strict=True):
        assert exact_tail(found, labels) == pytest.approx(np.mean(sums >= reached))


@bounded
@given(SCORES, st.sampled_from([0.01, 0.1, 0.3]))
def test_random_labels_are_hardly_ever_proof(scores, alpha):
    found = lifts(scores)
    tails = [exact_tail(found, labels) for labels in all_labels(found)]
    assert np.mean(np.array(tails) <= alpha) <= alpha + 1e-9


@bounded
@given(SCORES)
def test_lifts_of_a_class_sum_up_to_nothing(scores):
    assert not lifts(scores).sum(axis=0).any()


@bounded
@given(hnp.arrays(np.int64, (3, 4, 3), elements=st.integers(-9, 9)), st.integers(-9, 9))
def test_only_the_order_within_an_image_and_a_class_counts(scores, shift):
    """So logits do as well as probabilities, and what the image itself shows drops out."""
    of_images = np.arange(9).reshape(3, 1, 3) * shift
    found = lifts(scores.astype(float))
    np.testing.assert_array_equal(found, lifts(scores + of_images.astype(float)))
    np.testing.assert_array_equal(found, lifts(np.exp(scores / 3)))


def test_known_answers():
    scores = np.array([[[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]])
    np.testing.assert_array_equal(lifts(scores), [[-2, 2], [0, 0], [2, -2]])
    assert exact_tail(lifts(scores), np.array([1, 0, 0])) == 2 / 8  # mark 1 says nothing
    perfect = np.eye(48)[np.newaxis, :, :10] * 0 + np.eye(10)[np.arange(48) % 10]
    assert exact_tail(lifts(perfect), np.arange(48) % 10) == pytest.approx(1e-48)
    assert exact_tail(np.zeros((4, 3), np.int64), np.array([0, 1, 2, 0])) == 1


def test_many_marks_take_no_longer():
    """Thousands of marks are counted in coarser steps, and never below what floats can hold."""
    rng = np.random.default_rng(0)
    found = lifts(rng.random((2, 3000, 2)))
    labels = rng.integers(0, 2, 3000)
    tails = [exact_tail(found, labels), exact_tail(found, 1 - labels)]
    assert sum(tails) == pytest.approx(1, abs=0.01)
    assert exact_tail(found, found.argmax(axis=1)) == 1e-300


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([[0.1, 0.7, 0.2], [3, -1, 2]], [[0.1, 0.7, 0.2], [3, -1, 2]]),
        ({"scores": [[1.5, 2, 3], [1, 1, 1.0]]}, [[1.5, 2, 3], [1, 1, 1]]),
        ([1, 2], [[0, 1, 0], [0, 0, 1]]),
        ([[2, 1, 0], [0, 2, 1]], [[0, 0, 1], [1, 0, 0]]),  # the likeliest first
        ([0, 7], [[1, 0, 0], [math.nan] * 3]),
        ([[0.1, 0.7, 0.2], None], [[0.1, 0.7, 0.2], [math.nan] * 3]),
    ],
)
def test_scores_of_an_answer(outputs, expected):
    np.testing.assert_array_equal(AnswerReader(3).scores(outputs, 2), expected)


def test_scores_of_two_classes_from_one():
    scores = AnswerReader(2).scores([[0.9], [0.2]], 2)
    np.testing.assert_allclose(scores, [[-0.4, 0.4], [0.3, -0.3]])
    assert class_ids([[0.9], [0.2]], 2, 2).tolist() == scores.argmax(axis=1).tolist()
    with pytest.raises(AnswerError, match="another number of outputs"):
        AnswerReader(3).scores([[0.1, 0.9], [0.2, 0.8]], 2)


def test_votes():
    np.testing.assert_array_equal(
        votes(np.array([1, NO_ANSWER, 5]), 3), [[0, 1, 0], [math.nan] * 3, [math.nan] * 3]
    )


# --- suspects -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faded(small_marked):
    """Trained on until no mark is shown any more, as far as the likeliest class tells."""
    x_train, y_train, *_ = small_digits()
    tuning = FineTune(learning_rate=0.05, momentum=0.9, epochs=2)
    return tuning(small_marked, (x_train, y_train), seed=0)


class Names:
    """Tells the likeliest class alone."""

    def __init__(self, model):
        self.model = model

    def classify(self, images):
        return self.model.predict(images.astype("float32"), verbose=0).argmax(axis=-1)


def test_a_mark_that_only_the_thorough_question_shows(faded):
    ordinary = tfmark.verify(faded, KEY)
    assert ordinary.status == "not shown"
    assert ordinary.thorough is None
    verdict = tfmark.verify(faded, KEY, thorough=True)
    assert verdict.owned
    assert verdict.thorough.rounds == ROUNDS
    assert verdict.queries == pytest.approx(ROUNDS * MARKS, abs=MARKS)
    assert verdict.p_value == 2 * verdict.thorough.p_value < 1e-9
    assert verdict.evidence_bits == pytest.approx(-math.log2(verdict.p_value))
    assert verdict.thorough.lifted > 12
    assert f"{verdict.thorough.lifted} of 24 marks lift their label" in verdict.sentence
    assert "The suspect carries the watermark" in str(verdict)
    assert json.loads(json.dumps(verdict.to_dict()))["thorough"]["marks"] == MARKS


def test_scores_tell_more_than_names(faded):
    scores = tfmark.verify(faded, KEY, thorough=True).p_value
    names = tfmark.verify(Names(faded), KEY, thorough=True).p_value
    assert scores < 1e-3 * names
    assert names < 1e-3


def test_another_key_gets_nothing(faded, small_marked):
    for number, suspect in (1, faded), (2, faded), (3, small_marked):
        verdict = tfmark.verify(suspect, small_key(number), thorough=True)
        assert verdict.status == "not shown"
        assert verdict.p_value > 1e-4
        assert "which is no proof" in verdict.sentence


def test_an_intact_mark_takes_no_thorough_question(small_marked):
    verdict = tfmark.verify(small_marked, KEY, thorough=True)
    assert verdict.owned
    assert verdict.thorough is None
    assert verdict.queries < 20
    assert verdict.tries == 2  # both questions have half of alpha
    assert verdict.p_value == pytest.approx(2 * tfmark.verify(small_marked, KEY, 5e-10).p_value)


@pytest.mark.parametrize("form", ["scores", "logits", "percent"])
def test_over_http(faded, form, tmp_path):
    """JSON of a service, in whatever scale, on the command line."""
    form_of = {"scores": np.asarray, "logits": np.log, "percent": lambda p: 100 * p}[form]

    def respond(instances):
        return form_of(faded.predict(np.array(instances, np.float32), verbose=0)).tolist()

    key_file = tmp_path / "owner.tfmark"
    KEY.save(key_file)
    with http_server(model(respond)) as server:
        command = ["verify", str(key_file), f"{server.url}/v1/models/digits"]
        plain = CliRunner().invoke(main, command)
        assert plain.exit_code == 1
        assert "--thorough asks more" in plain.output
        done = CliRunner().invoke(main, [*command, "--thorough", "--json"])
        assert done.exit_code == 0, done.output
    assert json.loads(done.output)["p_value"] == tfmark.verify(faded, KEY, thorough=True).p_value


def test_every_mark_is_asked_on_the_same_images_and_opened_ones_never(faded):
    key, asked = small_key(), []
    key.open_next(3)

    class Listening(Names):
        def scores(self, images):
            asked.append(images)
            return self.model.predict(images.astype("float32"), verbose=0)

    verdict = tfmark.verify(Listening(faded), key, thorough=True)
    assert verdict.thorough.marks == MARKS - 3
    for slot, images in enumerate(asked):
        expected = [mark.pattern.apply(key.base_images[0, slot], 1) for mark in key.marks[3:]]
        np.testing.assert_array_equal(images, expected)
    assert len(asked) == ROUNDS


def test_of_unrelated_images_there_are_fewer(small_marked):
    key = small_key(scheme="unrelated")
    verdict = tfmark.verify(small_marked, key, thorough=True)
    assert verdict.thorough.rounds == key.spec.num_verification < ROUNDS
    assert verdict.status == "not shown"


def test_in_front_of_a_suspect(faded):
    """What stands in front of a model lets scores through, if there are any."""
    assert tfmark.verify(BitDepth(7)(faded, small_digits()[:2]), KEY, thorough=True).owned
    assert InFront(Names(faded), BitDepth(7), 0).scores(np.zeros((2, *SHAPE), np.uint8)) is None


def test_classes_that_were_aligned_vote(faded):
    class Shifted(Names):
        def classify(self, images):
            return (super().classify(images) + 1) % 10

    clean = small_digits()[2:]
    verdict = tfmark.verify(Shifted(faded), KEY, thorough=True, clean=clean)
    assert verdict.p_value == pytest.approx(
        tfmark.verify(Names(faded), KEY, thorough=True).p_value, rel=0.99
    )
    assert "were aligned on" in verdict.sentence


# --- suspects that mean harm --------------------------------------------------------------------


class Odd:
    """Misses every mark, and gives odd scores."""

    def __init__(self, scores):
        self._scores = scores

    def classify(self, images):
        return np.zeros(len(images), np.int64)

    def scores(self, images):
        return self._scores(len(images))


@pytest.mark.parametrize(
    ("scores", "status"),
    [
        (lambda n: np.ones((n, CLASSES)), "not shown"),
        (lambda n: np.full((n, CLASSES), np.inf), "not shown"),
        (lambda n: np.full((n, CLASSES), np.nan), "inconclusive"),
        (lambda n: np.full((n, CLASSES), "x"), "inconclusive"),
        (lambda n: [[1.0] * CLASSES] * (n - 1) + [[1.0]], "inconclusive"),
        (lambda n: np.ones((n, CLASSES + 1)), "inconclusive"),
        (lambda n: np.ones((n - 1, CLASSES)), "inconclusive"),
        (lambda n: np.random.default_rng(1).standard_cauchy((n, CLASSES)), "not shown"),
        (lambda n: None, "not shown"),
    ],
)
def test_odd_scores_never_prove_anything(scores, status):
    verdict = tfmark.verify(Odd(scores), KEY, thorough=True)
    assert verdict.status == status
    assert verdict.p_value > 1e-3


def test_where_all_classes_are_lifted_as_far_none_counts():
    verdict = tfmark.verify(Odd(lambda n: np.ones((n, CLASSES))), KEY, thorough=True)
    assert (verdict.thorough.lifted, verdict.thorough.p_value) == (0, 1.0)


def test_a_suspect_that_goes_away_in_the_middle(faded):
    def leave(count):
        raise UnreachableError("It went away.")

    verdict = tfmark.verify(Odd(leave), KEY, thorough=True)
    assert verdict.status == "inconclusive"
    assert verdict.reason == "It went away."
    assert verdict.thorough is None


def test_all_marks_are_asked_or_none(small_marked):
    with pytest.raises(InvalidArgumentError, match="about all marks. Expected no `max_queries`"):
        tfmark.verify(small_marked, KEY, thorough=True, max_queries=20)


# --- before release -----------------------------------------------------------------------------


def test_a_report_says_what_only_the_thorough_question_shows(small_marked, faded):
    attacks = {"tune": lambda *_: faded, "bits": BitDepth(7)}
    report = tfmark.robustness(small_marked, KEY, small_digits(), attacks)
    assert [row.status for row in report.rows] == ["owned", "owned, thorough", "owned"]
    assert "survives 2 of 2" in report.summary
    assert "Only the thorough question (--thorough) shows it after tune [" in report.summary
    assert report.to_dict()["rows"][1]["verdict"]["thorough"]["marks"] == MARKS


@pytest.mark.slow
def test_a_thief_who_knows_how_marks_are_made(small_marked):
    """Unlearning takes the label, and leaves the leaning towards it."""
    tuning = FineTune(learning_rate=0.05, momentum=0.9, epochs=5)
    attacked = Unlearn("noise", tuning=tuning)(small_marked, small_digits()[:2], seed=0)
    assert tfmark.verify(attacked, KEY).p_value > 0.1
    assert tfmark.verify(attacked, KEY, thorough=True).p_value < 1e-3
