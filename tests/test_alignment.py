"""`tfmark.align`: which class of a suspect is which of the key's, told from clean images."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfmark
from tests.test_verification import KEY, SHAPE, Fixed
from tfmark.alignment import WANTED, AlignedEndpoint
from tfmark.errors import AnswerError, InvalidArgumentError, UnreachableError


class Renaming:
    """Knows the class of each clean image (its first pixel), and answers `names` of it."""

    def __init__(self, names, wrong=0.0, seed=0):
        self.names, self.wrong, self.draw = names, wrong, np.random.default_rng(seed)
        self.asked = 0

    def classify(self, images):
        self.asked += len(images)
        truth = images[:, 0, 0, 0].astype(np.int64) % 10
        slips = self.draw.random(len(truth)) < self.wrong
        truth = np.where(slips, self.draw.integers(0, len(self.names), len(truth)), truth)
        return np.array([self.names[each] for each in truth], np.int64)


def clean(labels):
    images = np.zeros((len(labels), *SHAPE), np.uint8)
    images[:, 0, 0, 0] = labels
    return images, np.asarray(labels)


LABELS = np.arange(10).repeat(30)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(10)), st.integers(0, 1000), st.floats(0, 0.4))
def test_a_permutation_is_found_in_spite_of_mistakes(order, offset, wrong):
    names = [each + offset for each in order]
    suspect = Renaming(names, wrong)
    found = tfmark.align(suspect, *clean(LABELS), 10)
    assert [found.classes[name] for name in names] == list(range(10))
    assert found.one_to_one
    assert found.unseen == ()
    assert found.images == suspect.asked == 10 * WANTED
    assert 1 - 1.2 * wrong - 0.1 <= found.agreement <= 1
    images, labels = clean(np.arange(10))
    exact = Renaming(names)
    assert AlignedEndpoint(exact, found).classify(images).tolist() == labels.tolist()


def test_many_of_their_classes_to_one_of_ours():
    class Finer:
        """Two classes of its own for each of ours, and one that it should not have answered."""

        def classify(self, images):
            truth = images[:, 0, 0, 0].astype(np.int64)
            answers = 100 + 2 * truth + np.arange(len(images)) % 2
            answers[7] = 999
            return answers

    found = tfmark.align(Finer(), *clean(LABELS), 10)
    assert not found.one_to_one
    assert all(found.classes[100 + 2 * c] == found.classes[101 + 2 * c] == c for c in range(10))
    assert found.agreement == 1
    assert "several of its classes" in found.sentence


def test_fewer_classes_leave_some_without_a_counterpart():
    names = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    found = tfmark.align(Renaming(names), *clean(LABELS), 10)
    assert len(found.classes) == 8
    assert set(found.unseen) < {7, 8, 9}
    assert found.agreement == 0.8
    assert str(list(found.unseen)) in found.sentence
    answers = AlignedEndpoint(Fixed(np.array([5, 42, -1])), found).classify(np.zeros((3, *SHAPE)))
    assert answers.tolist() == [5, -1, -1]


def test_an_innocent_suspect_gains_nothing(rng):
    """Whatever it answers to clean images, its matches stay those of chance."""
    accused = 0
    for seed in range(150):
        suspect = Renaming(rng.permutation(10).tolist(), 0.3, seed)
        verdict = tfmark.verify(suspect, KEY, 1e-2, clean=clean(LABELS[::10]))
        accused += verdict.owned
        assert verdict.alignment is not None
    assert accused <= 5  # 1.5 expected at the most; more than 5 in one of 250 such tests


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 1, 10], "0 to 9"), ([0, 1, -1], "0 to 9"), ([0.0, 1.0, 2.0], "dtype float64"),
        ([0, 1], r"3 clean images. Received: shape \(2,\)"), (["a", "b", "c"], "dtype <U1"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused(labels, text):
    suspect = Renaming(range(10))
    with pytest.raises(InvalidArgumentError, match=text):
        tfmark.align(suspect, np.zeros((3, *SHAPE), np.uint8), labels, 10)
    assert suspect.asked == 0


@pytest.mark.parametrize(
    ("suspect", "text"),
    [
        (Fixed(UnreachableError("It is gone.")), "It is gone"),
        (Fixed(np.full(20, -1)), "got no class"),
        (Fixed(np.zeros(19, int)), "Expected 20 class ids"),
        (Fixed(["cat"] * 20), "Expected 20 class ids"),
    ],
)
def test_a_suspect_that_cannot_be_asked_is_inconclusive(suspect, text):
    with pytest.raises((UnreachableError, AnswerError), match=text):
        tfmark.align(suspect, *clean(np.arange(20) % 10), 10)
    verdict = tfmark.verify(suspect, KEY, clean=clean(np.arange(20) % 10))
    assert (verdict.status, verdict.queries) == ("inconclusive", 0)
    assert text in verdict.reason


def test_clean_images_of_another_shape_or_scale_are_refused():
    for images in (np.zeros((3, 9, 8, 1), np.uint8), np.full((3, *SHAPE), 300.0)):
        with pytest.raises(InvalidArgumentError, match="Expected"):
            tfmark.verify(Renaming(range(10)), KEY, clean=(images, [0, 1, 2]))


def test_scipy_is_named_where_it_is_missing(monkeypatch):
    real = builtins.__import__

    def importing(name, *arguments):
        if name.startswith("scipy"):
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(ModuleNotFoundError, match=r"tfmark\[align\]"):
        tfmark.align(Renaming(range(10)), *clean(LABELS), 10)
