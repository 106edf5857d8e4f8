"""Whatever a suspect answers becomes one class id for each image, or one clear error."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmark.answers import NO_ANSWER, AnswerReader, class_ids
from tfmark.class_names import ClassNames
from tfmark.errors import AnswerError

NAN, INF = float("nan"), float("inf")
EYE = np.eye(4)[[2, 0, 3]]  # three images, four classes: 2, 0, 3
SCORES = EYE.tolist()
IDS = [2, 0, 3]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (SCORES, IDS),
        (EYE, IDS),
        (EYE.astype(np.float32), IDS),
        (EYE.astype(np.int64), IDS),
        ((EYE * 50 - 60).tolist(), IDS),  # logits
        ((EYE * 1e-30).tolist(), IDS),
        (IDS, IDS),
        (np.array(IDS), IDS),
        ([2.0, 0.0, 3.0], IDS),
        ([[2], [0], [3]], IDS),
        ([[[2]], [[0]], [[3]]], IDS),
        (EYE.reshape(3, 1, 1, 4).tolist(), IDS),
        (EYE.reshape(3, 4, 1).tolist(), IDS),
        ([2, -0.0, 3], IDS),
        ([2, 4, 3], [2, -1, 3]),
        ([2, -1, 3], [2, -1, 3]),
        ([2, 0.5, 3], [2, -1, 3]),
        ([2, NAN, 3], [2, -1, 3]),
        ([2, INF, -INF], [2, -1, -1]),
        ([2, 10**300, 3], [2, -1, 3]),
        ([2, 2**63, -(2**63)], [2, -1, -1]),
        ([SCORES[0], [1, 0, NAN, 0], SCORES[2]], [2, -1, 3]),
        ([SCORES[0], [NAN] * 4, SCORES[2]], [2, -1, 3]),
        ([SCORES[0], [INF, 0, 0, 0], [-INF, -INF, -INF, 0]], IDS),
        ([SCORES[0], [1, 1, 1, 1], SCORES[2]], IDS),  # a tie is an answer, always the same
    ],
)
def test_forms_of_an_answer(outputs, expected):
    ids = class_ids(outputs, 3, 4, None)
    assert ids.tolist() == expected
    assert ids.dtype == np.int64
    assert NO_ANSWER == -1


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([0.0, 1.0, 0.0], [0, 1, 0]),
        ([0.2, 0.7, 0.6], [0, 1, 1]),  # probabilities of the second class
        ([[0.2], [0.7], [1.0]], [0, 1, 1]),
        ([-3.0, 2.5, 0.1], [0, 1, 1]),  # logits of the second class
        ([-3.0, NAN, 0.1], [0, -1, 1]),
        ([0.7, NAN, 0.2], [1, -1, 0]),  # one bad answer does not change how others are read
        ([1, NAN, 0], [1, -1, 0]),
        ([[0.9, 0.1], [0.2, 0.8], [NAN, 0]], [0, 1, -1]),
    ],
)
def test_two_classes(outputs, expected):
    assert class_ids(outputs, 3, 2, None).tolist() == expected


LETTERS = ["a", "b", "c", "d"]
ORDERS = [[2, 0, 1, 3], [0, 3, 2, 1], [3, 1, 2, 0]]  # the likeliest first
FALLING = [[0.7, 0.2, 0.1, 0.0]] * 3


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (ORDERS, None),
        ([[i + 1 for i in row] for row in ORDERS], ["1", "2", "3", "4"]),
        ([row[:2] for row in ORDERS], None),
        ([[[i, s] for i, s in zip(row[:2], FALLING[0], strict=False)] for row in ORDERS], None),
        ([[[i, s] for i, s in zip(row, FALLING[0], strict=True)] for row in ORDERS], None),
        ([[LETTERS[i] for i in row] for row in ORDERS], LETTERS),
        ([[[LETTERS[i], 0.5 - i / 9] for i in row[:1]] for row in ORDERS], LETTERS),
        ([{"label": LETTERS[row[0]], "score": 0.9} for row in ORDERS], LETTERS),
        ([[{"class": i, "confidence": s} for i, s in zip(row, [0.1, 0.8], strict=False)]
          for row in [[1, 2], [3, 0], [0, 3]]], None),
        ({"classes": [[LETTERS[i] for i in row] for row in ORDERS], "scores": FALLING}, LETTERS),
        ({"classes": [LETTERS] * 3, "scores": SCORES}, LETTERS),
        ({"classes": [LETTERS] * 3, "scores": SCORES}, None),
        ({"classes": [LETTERS[::-1]] * 3, "scores": EYE[:, ::-1].tolist()}, LETTERS),
        ({"classes": [row[:2] for row in ORDERS], "scores": [[0.6, 0.1]] * 3}, None),
        ({str(i): [int(x) for x in EYE[:, i]] for i in range(4)}, None),
        ({name: EYE[:, i].tolist() for i, name in enumerate(LETTERS)}, LETTERS),
        ({"logits": SCORES, "probabilities": (EYE / 2).tolist()}, None),
        (np.array(LETTERS, object)[IDS], LETTERS),
        (np.array(LETTERS)[IDS][:, np.newaxis].astype("S1"), LETTERS),
        ([" A", "b ", "B"], ["x", "b", "a", "y"]),
        (["2", "0", "3"], None),
        ([3, 1, 4], ["1", "2", "3", "4"]),
        ([SCORES[0], SCORES[1], SCORES[2]], LETTERS),
    ],
)  # fmt: skip
def test_rankings_and_names(outputs, names):
    expected = [2, 1, 1] if isinstance(outputs, list) and outputs[0] == " A" else IDS
    assert class_ids(outputs, 3, 4, None, ClassNames(names)).tolist() == expected


def test_one_column_for_each_class_in_their_own_numbering():
    columns = {name: EYE[:, i].tolist() for i, name in enumerate(LETTERS)}
    learned = ClassNames(None, learn=True)
    assert class_ids(columns, 3, None, None, learned).tolist() == [0, 1, 2]


def test_rankings_of_unknown_names_are_not_taken_for_scores():
    ranked = {"classes": [[LETTERS[i] for i in row] for row in ORDERS], "scores": FALLING}
    with pytest.raises(AnswerError, match="--labels"):
        class_ids(ranked, 3, 4)
    assert class_ids(ranked, 3, None, None, ClassNames(None, learn=True)).tolist() == [0, 1, 2]


def test_a_missing_answer_does_not_cost_the_others():
    assert class_ids([SCORES[0], None, SCORES[2]], 3, 4).tolist() == [2, -1, 3]
    assert class_ids([["a"], None, ["b", "a"]], 3, 4, None, ClassNames("abcd")).tolist() == [
        0, -1, 1,
    ]  # fmt: skip


def test_what_single_scores_of_two_classes_are_is_not_forgotten():
    reader = AnswerReader(2)
    assert reader.read([0.4], 1).tolist() == [0]  # as a probability
    assert reader.read([-0.4], 1).tolist() == [0]  # a logit then
    assert reader.read([0.4], 1).tolist() == [1]
    assert AnswerReader(2).read([1, 2], 2).tolist() == [1, -1]  # whole numbers are ids
    assert AnswerReader(None).read([0.4, 0.8], 2).tolist() == [0, 1]


def test_ids_beyond_the_classes_are_noticed():
    reader = AnswerReader(4)
    assert reader.read([4, 2], 2).tolist() == [-1, 2]
    assert reader.beyond


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        ({"classes": IDS}, None),
        ({"probabilities": SCORES, "classes": [0, 0, 0]}, None),  # scores go first
        ({"embedding": [[1.0] * 7] * 3, "label": IDS}, None),
        ({"text": ["a", "b", "c"], "scores": SCORES}, None),
        ({"version": 3, "scores": SCORES}, None),
        ({"short": [1, 2], "scores": SCORES}, None),
        ({"nothing": None, "empty": [], "scores": SCORES}, None),
        ({"a": SCORES, "b": [[1, 0, 0, 0]] * 3}, "a"),
        ({"a": [[1, 0, 0, 0]] * 3, "classes": IDS}, "classes"),
    ],
)
def test_a_model_with_several_outputs(outputs, output):
    assert class_ids(outputs, 3, 4, output).tolist() == IDS


@pytest.mark.parametrize(
    ("outputs", "output", "expected"),
    [
        (
            {"a": SCORES, "b": [[1.0, 0, 0, 0]] * 3},
            None,
            r"Cannot tell which.*\['a', 'b'\].*`output`",
        ),
        ({"a": IDS, "b": IDS}, None, "Cannot tell which"),
        ({"a": [[1.0, 2.0]] * 3}, None, "Expected 4 scores or one class id"),
        ({"a": {"b": SCORES}}, None, "Expected 3 answers, one for each image. Received dict"),
        ({"a": {"b": SCORES}, "c": "cat"}, None, "Cannot tell which"),
        ({}, None, "Cannot tell which"),
        ({"a": SCORES}, "b", r"no output 'b'. Expected one of \['a'\]"),
        ({"a": [[1.0, 2.0]] * 3}, "a", "Expected 4 scores or one class id"),
        ({"a": [[1, 1]] * 3}, "a", "Expected 4 scores or one class id"),
        ([[0.1] * 5] * 3, None, "Expected 4 scores or one class id.*Received: 5"),
        (SCORES[:2], None, "Expected 3 answers, one for each image. Received 2"),
        (SCORES * 2, None, "Expected 3 answers, one for each image. Received 6"),
        (SCORES[0], None, "Expected 3 answers"),
        ([], None, "Expected 3 answers"),
        ([[], [], []], None, "Expected 3 answers"),
        (np.zeros((3, 0)), None, "Expected 3 answers"),
        (2, None, "Expected 3 answers, one for each image. Received int"),
        ([SCORES[0], [1, 0, 0], SCORES[2]], None, "as many for each image as for the next"),
        ([2, [0], 3], None, "as many for each image as for the next"),
        ([2, 10**400, 3], None, "not made of numbers"),
        (["2", "cat", "3"], None, "class names, such as 'cat'.*--labels"),
        (["0.9", "0.1", "0.2"], None, "class names, such as '0.9'"),
        ([["0.1", "0.9", "0", "0"]] * 3, None, "class names, such as '0.1'"),
        ([0.5, "cat", 0.5], None, "Expected numbers in the answer. Received: str"),
        (["cat", 0.5, ["dog"]], None, "Some labels|Expected labels"),
        ("203", None, "Expected 3 answers, one for each image. Received str"),
        ([True, False, True], None, "Expected numbers in the answer. Received: bool"),
        ([[True, 0, 0, 0]] * 3, None, "Expected numbers in the answer. Received: bool"),
        (None, None, "Expected 3 answers, one for each image. Received NoneType"),
        ([{"classes": 2}] * 3, None, "Expected labels.*Received: 'dict'"),
        ([[["cat", 0.5], ["dog"]]] * 3, None, "Expected labels"),
        ([[{"label": 1, "score": 0.5}, {"label": 2}]] * 3, None, "Some labels of the answer"),
        (json.loads("[" * 900 + "]" * 900), None, "."),
        ([json.loads("[" * 900 + "1" + "]" * 900)] * 3, None, "."),
    ],
)
def test_answers_that_cannot_be_read(outputs, output, expected):
    with pytest.raises(AnswerError, match=expected):
        class_ids(outputs, 3, 4, output)


NUMBERS = st.integers() | st.floats() | st.integers(-2, 5) | st.floats(0, 1)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=3)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=20,
)
ROWS = st.integers(0, 5).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), max_size=4)
)
TABLES = ROWS | st.lists(NUMBERS, max_size=4)
ANSWERS = JSON | TABLES | st.dictionaries(st.sampled_from("abc"), TABLES | JSON)


@settings(deadline=None, max_examples=300)
@given(ANSWERS, st.integers(1, 4), st.integers(2, 5), st.sampled_from([None, None, "a"]))
def test_any_json_becomes_class_ids_or_one_clear_error(outputs, num_images, num_classes, output):
    outputs = json.loads(json.dumps(outputs))
    try:
        ids = class_ids(outputs, num_images, num_classes, output)
    except AnswerError:
        return
    assert ids.dtype == np.int64
    assert ids.shape == (num_images,)
    assert ((ids >= NO_ANSWER) & (ids < num_classes)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(NUMBERS.filter(lambda x: abs(x) < 1e300), min_size=3, max_size=3), st.randoms())
def test_an_answer_is_read_the_same_wherever_it_stands(answers, random):
    """The reading follows the answers when the order of the images changes."""
    order = random.sample(range(3), 3)
    for num_classes in (2, 4):
        ids = class_ids(answers, 3, num_classes, None)
        moved = class_ids([answers[i] for i in order], 3, num_classes, None)
        assert moved.tolist() == ids[order].tolist()
