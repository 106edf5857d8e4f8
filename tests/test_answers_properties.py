"""Properties of what reads answers: class ids of the right form, or one clear error."""

import gzip
import io
import json

import numpy as np
import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfmark.answers import NO_ANSWER, AnswerReader, class_ids
from tfmark.endpoints import Connection, Dialect, Suspect, Task, TFServing
from tfmark.endpoints.http import HttpClient
from tfmark.errors import AnswerError, EndpointError

K = 5
IMAGES = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3, 1)

bounded = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = st.floats() | st.integers() | st.integers(-2, K) | st.sampled_from([10**400, -(2**63)])
OTHERS = st.none() | st.booleans() | st.text(max_size=4) | st.floats().map(str)
JSON = st.recursive(
    NUMBERS | OTHERS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=25,
)
FINITE = st.floats(-1e6, 1e6, width=32)


@st.composite
def tables(draw, numbers=NUMBERS):
    """Rows as a model would answer: of one width, or class ids."""
    rows, width = draw(st.integers(0, 5)), draw(st.sampled_from([None, 0, 1, 2, K - 1, K, K + 1]))
    row = numbers if width is None else st.lists(numbers, min_size=width, max_size=width)
    return draw(st.lists(row, min_size=rows, max_size=rows))


@st.composite
def almost_right(draw):
    """Scores of four images, with something else in one place."""
    scores = draw(st.lists(st.lists(FINITE, min_size=K, max_size=K), min_size=4, max_size=4))
    row = draw(st.integers(0, 3))
    if draw(st.booleans()):
        scores[row] = draw(JSON)
    else:
        scores[row][draw(st.integers(0, K - 1))] = draw(JSON)
    return scores


ANSWERS = JSON | tables() | almost_right()
OUTPUTS = ANSWERS | st.dictionaries(st.sampled_from(["a", "b", "\x1b[2J"]), ANSWERS, max_size=3)


def check_form(ids, num_images, num_classes=K):
    assert isinstance(ids, np.ndarray)
    assert ids.dtype == np.int64
    assert ids.shape == (num_images,)
    assert np.isin(ids, np.arange(NO_ANSWER, num_classes)).all()


def check_message(error):
    text = str(error)
    assert 5 < len(text) < 600
    assert text.isprintable()


@bounded
@given(OUTPUTS, st.integers(1, 5), st.integers(2, K + 1), st.sampled_from([None, None, "a"]))
def test_class_ids_or_one_clear_error(outputs, num_images, num_classes, output):
    try:
        ids = class_ids(outputs, num_images, num_classes, output)
    except AnswerError as error:
        check_message(error)
    else:
        check_form(ids, num_images, num_classes)


@bounded
@given(OUTPUTS, st.integers(1, 5), st.sampled_from([None, None, "a"]))
def test_scores_say_what_class_ids_say_or_there_is_one_clear_error(outputs, num_images, output):
    """The likeliest class of the scores is the class id, unless two are equally likely."""
    try:
        ids = AnswerReader(K, output).read(outputs, num_images)
    except AnswerError as error:
        with pytest.raises(AnswerError) as raised:
            AnswerReader(K, output).scores(outputs, num_images)
        assert str(raised.value) == str(error)
        return
    scores = AnswerReader(K, output).scores(outputs, num_images)
    assert scores.shape == (num_images, K)
    assert scores.dtype == np.float64
    for row, answer in zip(scores, ids, strict=True):
        assert (answer == NO_ANSWER) == bool(np.isnan(row).any())
        assert answer == NO_ANSWER or row[answer] == row.max()


@bounded
@given(tables(FINITE), st.integers(1, 4))
def test_arrays_are_read_as_lists_are(rows, num_images):
    def read(outputs):
        try:
            return class_ids(outputs, num_images, K, None).tolist()
        except AnswerError:
            return None

    assert read(np.array(rows, np.float64)) == read(rows)
    assert read(np.array(rows, np.float32)) == read(rows)


@bounded
@given(st.lists(st.lists(FINITE, min_size=K, max_size=K), min_size=1, max_size=5))
def test_the_highest_score_is_the_class(scores):
    assert class_ids(scores, len(scores), K, None).tolist() == np.argmax(scores, axis=1).tolist()


@bounded
@given(almost_right(), st.permutations(range(4)))
def test_an_answer_is_read_the_same_wherever_it_stands(scores, order):
    def read(rows):
        try:
            return class_ids(rows, 4, K, None)
        except AnswerError:
            return None

    ids, moved = read(scores), read([scores[i] for i in order])
    assert (ids is None) == (moved is None)
    assert ids is None or moved.tolist() == ids[order].tolist()


@bounded
@given(st.lists(st.lists(FINITE, min_size=K, max_size=K), min_size=4, max_size=4), st.data())
def test_numbers_in_quotes_are_no_scores(scores, data):
    """A row with a score in quotes has no answer, if the others are read at all."""
    row = data.draw(st.integers(0, 3))
    scores[row][data.draw(st.integers(0, K - 1))] = str(data.draw(FINITE))
    try:
        ids = class_ids(scores, 4, K, None)
    except AnswerError:
        return
    assert ids[row] == NO_ANSWER


# --- whole answers of a server ------------------------------------------------------------------


class Canned:
    """A transport that answers each question with the same bytes, and knows no metadata."""

    def __init__(self, body, status=200, headers=None, metadata=None):
        self.answers = {"POST": (body, status, headers), "GET": (metadata or b"", 200, None)}

    def request(self, method, url, **_):
        body, status, headers = self.answers[method]
        return urllib3.HTTPResponse(
            io.BytesIO(body), headers, status, preload_content=False, request_method=method
        )


def check_classify(*answer, **options):
    client = HttpClient(Connection(retries=0), Canned(*answer, **options))
    service = TFServing("http://suspect/v1/models/m", Dialect(), client)
    suspect = Suspect(service, Task(IMAGES.shape[1:], (0, 255), K), Dialect())
    try:
        ids = suspect.classify(IMAGES)
    except EndpointError as error:
        check_message(error)
        return error
    check_form(ids, len(IMAGES))
    return ids


@st.composite
def damaged(draw, answers=OUTPUTS):
    """The bytes of an answer in JSON, some of them cut out or replaced."""
    text = json.dumps({"predictions": draw(answers)})
    encoded = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    start = draw(st.integers(0, len(encoded)))
    stop = draw(st.integers(start, min(start + 4, len(encoded))))
    return encoded[:start] + draw(st.binary(max_size=3)) + encoded[stop:]


@bounded
@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")) | damaged())
def test_any_bytes_are_class_ids_or_one_clear_error(body):
    check_classify(body)


@bounded
@given(OUTPUTS)
def test_any_predictions_are_class_ids_or_one_clear_error(outputs):
    check_classify(json.dumps({"predictions": outputs}).encode())


@bounded
@given(JSON | st.dictionaries(st.sampled_from(["predictions", "outputs", "error"]), JSON))
def test_any_json_is_class_ids_or_one_clear_error(answer):
    check_classify(json.dumps(answer).encode())


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@bounded
@given(
    st.binary() | damaged(),
    st.sampled_from([200, 204, 206, 302, 304, 400, 403, 429, 500, 503, 999]),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Content-Encoding", "Location", "Content-Type"]), LATIN
    ),
)
def test_any_status_and_headers_end_in_one_clear_error(body, status, headers):
    answered = check_classify(body, status, headers)
    assert status == 200 or isinstance(answered, EndpointError)


@bounded
@given(
    damaged(),
    st.sampled_from(["gzip", "deflate", "gzip, gzip", "GZIP", "x-gzip", "br"]),
    st.integers(0, 2),
    st.integers(0, 30),
)
def test_any_compressed_body_is_class_ids_or_one_clear_error(body, encoding, layers, cut):
    for _ in range(layers):
        body = gzip.compress(body)
    check_classify(body[: len(body) - cut], 200, {"Content-Encoding": encoding})


DIMS = st.lists(st.fixed_dictionaries({"size": JSON | st.sampled_from(["-1", "2", "3", "1"])}))
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["DT_FLOAT", "DT_UINT8", "DT_STRING"]) | JSON,
        "tensor_shape": JSON
        | st.fixed_dictionaries({"dim": DIMS | JSON, "unknown_rank": st.booleans() | JSON}),
    }
)
SIGNATURES = st.dictionaries(
    st.sampled_from(["serving_default", "\x1b[2J"]),
    JSON | st.fixed_dictionaries({"inputs": JSON | st.dictionaries(st.text(max_size=3), TENSORS)}),
)


@bounded
@given(SIGNATURES | JSON)
def test_any_metadata_leaves_the_model_to_be_asked_or_rules_it_out(signatures):
    metadata = {"metadata": {"signature_def": {"signature_def": signatures}}}
    answer = json.dumps({"predictions": np.eye(K)[:4].tolist()}).encode()
    answered = check_classify(answer, metadata=json.dumps(metadata).encode())
    assert isinstance(answered, AnswerError) or answered.tolist() == [0, 1, 2, 3]


def test_the_transport_reaches_the_endpoint():
    ids = check_classify(json.dumps({"predictions": [3, 0, 9, 4]}).encode())
    assert ids.tolist() == [3, 0, NO_ANSWER, 4]
    with pytest.raises(EndpointError, match="503"):
        raise check_classify(b"busy", 503)
