"""Whatever a suspect answers becomes one class id for each image, or one clear error."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmark.answers import NO_ANSWER, class_ids
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
        ({"a": SCORES, "b": SCORES}, None, r"Cannot tell which.*\['a', 'b'\].*`output`"),
        ({"a": IDS, "b": IDS}, None, "Cannot tell which"),
        ({"a": [[1.0, 2.0]] * 3}, None, "Expected 4 scores or one class id"),
        ({"a": {"b": SCORES}}, None, "Expected 3 answers, one for each image. Received dict"),
        ({"a": {"b": SCORES}, "c": "cat"}, None, "Cannot tell which"),
        ({}, None, "Cannot tell which"),
        ({"a": SCORES}, "b", r"no output 'b'. Expected one of \['a'\]"),
        ({"a": [[1.0, 2.0]] * 3}, "a", "Expected 4 scores or one class id"),
        ({"a": [[1, 1]] * 3}, "a", "Expected 4 scores or one class id"),
        (SCORES, "a", "a single output without a name"),
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
