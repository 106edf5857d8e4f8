"""`TFServing` against a loopback server: what it sends, what it reads, what it refuses."""

import base64
import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.http_server import RESET, Reply, free_port, http_server, model
from tfmark.endpoints import TFServing
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, RefusedError
from tfmark.pixels import from_pixels

SHAPE = (8, 8, 1)
IMAGES = np.arange(6 * 64, dtype=np.uint8).reshape(6, *SHAPE)
RECORDED = {
    exchange["case"]: exchange
    for exchange in json.loads(
        Path(__file__).with_name("data").joinpath("tf_serving_exchanges.json").read_text()
    )["exchanges"]
}


def first_pixel(instances):
    """Class ids that tell the images apart: 0 and 4 in turn."""
    return [int(np.ravel(instance)[0]) // 16 % 8 for instance in instances]


IDS = [0, 4, 0, 4, 0, 4]


def ask(answer, images=IMAGES, path="/v1/models/m", value_range=(0, 255), classes=10, **options):
    """The server's record of requests, and the class ids or the exception."""
    with http_server(answer) as server:
        options = {"retries": 0, "timeout": 5} | options
        suspect = TFServing(server.url + path, images.shape[1:], value_range, classes, **options)
        try:
            return server, suspect.classify(images)
        except EndpointError as error:
            return server, error


def metadata(shape=(-1, *SHAPE), dtype="DT_FLOAT", inputs=("image",), name="serving_default"):
    dims = [{"size": s if isinstance(s, float) else str(s), "name": ""} for s in shape or ()]
    tensor_shape = {"dim": dims, "unknown_rank": shape is None}
    tensor = {"dtype": dtype, "tensor_shape": tensor_shape, "name": "x:0"}
    signatures = {name: {"inputs": dict.fromkeys(inputs, tensor)}, "__saved_model_init_op": {}}
    return {"metadata": {"signature_def": {"signature_def": signatures}}}


@pytest.mark.parametrize(
    ("path", "options", "predict", "described"),
    [
        ("/v1/models/m", {}, "/v1/models/m:predict", "/v1/models/m/metadata"),
        ("/v1/models/m/", {}, "/v1/models/m:predict", "/v1/models/m/metadata"),
        ("/v1/models/m:predict", {}, "/v1/models/m:predict", "/v1/models/m/metadata"),
        ("/v1/models/m", {"version": 3}, "/v1/models/m/versions/3:predict",
         "/v1/models/m/versions/3/metadata"),
        ("/v1/models/m:predict", {"version": 0}, "/v1/models/m/versions/0:predict",
         "/v1/models/m/versions/0/metadata"),
        ("/team/7/v1/models/m?key=a%2Fb&x=1", {}, "/team/7/v1/models/m:predict?key=a%2Fb&x=1",
         "/team/7/v1/models/m/metadata?key=a%2Fb&x=1"),
        ("/v1/models/m:predict?key=ab/", {}, "/v1/models/m:predict?key=ab/",
         "/v1/models/m/metadata?key=ab/"),
    ],
)  # fmt: skip
def test_paths(path, options, predict, described):
    server, ids = ask(model(first_pixel), path=path, **options)
    assert ids.tolist() == IDS
    paths = {request.method: request.path for request in server.requests}
    assert paths == {"GET": described, "POST": predict}


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8501", "http://127.0.0.1:8501/?a=/v1/models/m", "127.0.0.1:8501/v1/models/m",
     "http://127.0.0.1:8501/v1/models/m#here", "http://me:s3cr3t@127.0.0.1:8501/v1/models/m"],
)  # fmt: skip
def test_addresses_that_are_not_of_a_model_are_refused(url):
    with pytest.raises(InvalidArgumentError) as caught:
        TFServing(url, SHAPE, (0, 255), 10)
    assert "s3cr3t" not in str(caught.value)


def test_signature_and_headers_are_sent():
    described = metadata(name='odd "name"')
    server, _ = ask(
        model(first_pixel, described), signature='odd "name"', headers={"X-Api-Key": "k"}
    )
    assert [post["signature_name"] for post in server.posts()] == ['odd "name"']
    assert all(request.headers["X-Api-Key"] == "k" for request in server.requests)
    server, _ = ask(model(first_pixel))
    assert [sorted(post) for post in server.posts()] == [["instances"]]


@pytest.mark.parametrize(
    "described",
    [
        Reply("<html>Not here</html>", 404), Reply("", 500), Reply("<html>Welcome</html>"),
        Reply("[" * 100_000), Reply("null"), Reply("[]"), Reply('{"metadata": 5}'),
        Reply("x" * (17 << 20)),
        metadata(("many",)), metadata((float("inf"), 8)), metadata((float("nan"), 8)),
        {"metadata": {"signature_def": {"signature_def": ["serving_default"]}}},
    ],
    ids=range(12),
)  # fmt: skip
def test_works_where_metadata_is_of_no_use(described):
    server, ids = ask(model(first_pixel, described))
    assert ids.tolist() == IDS
    assert np.shape(server.posts()[0]["instances"]) == IMAGES.shape


@pytest.mark.parametrize(
    ("shape", "dtype", "sent"),
    [
        ((-1, *SHAPE), "DT_FLOAT", SHAPE),
        ((-1, -1, -1, 1), "DT_FLOAT", SHAPE),
        ((-1, 64), "DT_DOUBLE", (64,)),
        ((-1, 8, 8), "DT_FLOAT", (8, 8)),
        (None, "DT_FLOAT", SHAPE),
        ((-1, *SHAPE), "DT_UINT8", SHAPE),
        ((-1, 64), "DT_INT32", (64,)),
    ],
)
def test_sends_what_the_metadata_says(shape, dtype, sent):
    server, ids = ask(model(lambda rows: [0] * len(rows), metadata(shape, dtype)),
                      value_range=(-1, 1))  # fmt: skip
    (body,) = server.posts()
    whole = "INT" in dtype
    expected = IMAGES if whole else from_pixels(IMAGES, (-1, 1))
    instances = np.array(body["instances"])
    assert instances.dtype.kind == ("i" if whole else "f")
    assert instances.shape == (6, *sent)
    assert np.array_equal(instances.astype(np.float32).reshape(IMAGES.shape), expected)
    assert len(ids) == 6


@pytest.mark.parametrize(
    ("described", "options", "text"),
    [
        (metadata((-1, 8, 8, 3)), {}, r"\(8, 8, 3\).*\(8, 8, 1\)"),
        (metadata((-1, 16, 16, 1)), {}, r"\(16, 16, 1\)"),
        (metadata((-1, 63)), {}, r"\(63,\)"),
        (metadata((-1, -1)), {}, r"\(8, 8, 1\)"),
        (metadata((-1, 1, 8, 8, 1, 2)), {}, r"\(8, 8, 1\)"),
        (metadata((-1, 4, 16, 1)), {}, r"\(4, 16, 1\)"),
        (metadata((-1, 16, 4)), {}, r"\(16, 4\)"),
        (metadata((-1,)), {}, r"\(8, 8, 1\)"),
        (metadata(()), {}, "single number"),
        (metadata((-1, -8, -8)), {}, r"\(8, 8, 1\)"),
        (metadata(dtype="DT_STRING"), {}, "DT_STRING"),
        (metadata(dtype="DT_HALF"), {}, "DT_HALF"),
        (metadata(inputs=("a", "b")), {}, r"\['a', 'b'\]"),
        (metadata(), {"signature": "nope"}, r"'nope'.*\['serving_default'\]"),
        (metadata(name="other"), {}, r"'serving_default'.*\['other'\]"),
    ],
)
def test_a_model_for_other_inputs_is_not_asked(described, options, text):
    server, error = ask(model(first_pixel, described), **options)
    with pytest.raises(AnswerError, match=text):
        raise error
    assert server.posts() == []


def test_channels_first_is_not_taken_for_channels_last():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    server, error = ask(model(first_pixel, metadata((-1, 3, 8, 8))), images)
    assert isinstance(error, AnswerError)
    assert server.posts() == []


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 6), (4, [4, 4]), (6, [6]), (9, [9])])
def test_a_fixed_batch_size_is_kept(batch, sizes):
    server, ids = ask(model(first_pixel, metadata((batch, *SHAPE))))
    assert [len(post["instances"]) for post in server.posts()] == sizes
    assert ids.tolist() == IDS


def test_an_absurd_batch_size_is_refused():
    server, error = ask(model(first_pixel, metadata((10**15, *SHAPE))))
    assert isinstance(error, AnswerError)
    assert server.posts() == []


@pytest.mark.parametrize(
    "value_range", [(0, 255), (0, 1), (-1, 1), (0.0, 255.0), (-0.4242129, 2.8214867), (0, 1e-6)]
)
def test_numbers_sent_are_the_float32_of_the_scale(value_range):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    server, _ = ask(model(lambda rows: [0] * len(rows)), levels, value_range=value_range)
    sent = np.array(server.posts()[0]["instances"], np.float64).astype(np.float32)
    assert np.array_equal(sent, from_pixels(levels, value_range))


def test_large_images_go_in_several_requests_in_order():
    images = np.zeros((12, 64, 64, 3), np.uint8)
    images[:, 0, 0, 0] = range(0, 192, 16)
    server, ids = ask(
        model(lambda rows: [round(row[0][0][0] * 255) // 16 for row in rows]), images,
        value_range=(0, 1), classes=12,
    )  # fmt: skip
    sizes = [len(request.body) for request in server.requests if request.method == "POST"]
    assert ids.tolist() == list(range(12))
    assert len(sizes) > 1
    assert max(sizes) < 1_000_000


def scores(count=6, classes=10):
    return np.eye(classes)[np.arange(count) % classes].tolist()


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (scores(), [0, 1, 2, 3, 4, 5]),
        ([[i] for i in range(6)], [0, 1, 2, 3, 4, 5]),
        ([9, 10, -1, 1.5, float("nan"), 3], [9, -1, -1, -1, -1, 3]),
        ([[float("nan")] + [0.0] * 9, *scores()[1:]], [-1, 1, 2, 3, 4, 5]),
        ([[None] + [0.0] * 9, *scores()[1:]], [-1, 1, 2, 3, 4, 5]),  # KServe's NaN
        ([{"probs": row, "id": 7} for row in scores()], [0, 1, 2, 3, 4, 5]),
        ([{"id": 7, "name": "x"} for _ in range(6)], [7] * 6),
    ],
)
def test_reads_scores_and_class_ids(predictions, expected):
    assert ask(model(lambda _: predictions))[1].tolist() == expected


@pytest.mark.parametrize(
    "answer",
    [
        Reply("hello"), Reply(""), Reply(b"\xff\xfe\x00"), Reply("<html>Log in</html>"),
        Reply("[" * 200_000 + "]" * 200_000),
        Reply('{"predictions":' + "[" * 900 + "]" * 900 + "}"),
        Reply("1" * 10_000), Reply("null"), Reply('[{"predictions": [1]}]'),
        Reply('{"predictions": {"a": 1}}'), Reply('{"outputs": [1, 2, 3, 4, 5, 6]}'),
        *({"predictions": rows} for rows in (
            [], scores(5), scores(7), scores(6, 11), ["cat"] * 6, ["1"] * 6, [True] * 6, None,
            [[1, 2], [1]] * 3, [[[]]] * 6, [10**400] * 6, 5 * [{"a": 1}] + [3],
            5 * [3] + [{"a": 1}], 5 * [{"a": 1}] + [{"b": 1}], [{}] * 6,
            [{"a": row, "b": row} for row in scores()],
        )),
    ],
    ids=range(27),
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_one_clear_error(answer):
    reply = answer if isinstance(answer, Reply) else Reply(json.dumps(answer))
    start = time.monotonic()
    _, error = ask(lambda request: reply if request.method == "POST" else Reply("", 404))
    with pytest.raises(AnswerError):
        raise error
    assert 5 < len(str(error)) < 300
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("many", ["signatures", "inputs", "outputs", "sizes", "error"])
def test_a_hostile_server_cannot_flood_the_message(many):
    names = [f"name{i}" for i in range(20_000)]
    described = {
        "signatures": metadata(name="\x1b[2J" * 50_000),
        "inputs": metadata(inputs=names),
        "sizes": metadata([10] * 50_000),
    }.get(many, metadata())
    _, error = ask(
        lambda request: Reply("x " * 100_000, 400) if many == "error" and request.method == "POST"
        else model(lambda rows: [dict.fromkeys(names, 0)] * len(rows), described)(request)
    )  # fmt: skip
    assert isinstance(error, EndpointError)
    assert len(str(error)) < 2000


@pytest.mark.parametrize("bad", ["dead", "silent", "reset"])
def test_a_server_that_does_not_answer_ends_in_time(bad):
    start = time.monotonic()
    if bad == "dead":
        url = f"http://127.0.0.1:{free_port()}/v1/models/m"
        suspect = TFServing(url, SHAPE, (0, 1), 10, retries=1)
        with pytest.raises(EndpointError, match="does not accept connections"):
            suspect.classify(IMAGES)
    else:
        _, error = ask(lambda _: None if bad == "silent" else [RESET], timeout=0.5, retries=1)
        with pytest.raises(EndpointError, match=r"0\.5 s|broke"):
            raise error
    assert time.monotonic() - start < 20


EIGHTHS = (-1, 255 / 8 - 1)
ROWS = np.array([[8, 9, 10, 11], [16, 0, 12, 24]], np.uint8)  # 0, .125, .25, .375; 1, -1, .5, 2
GREY = np.arange(0, 256, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
CNN28 = np.array(json.loads(RECORDED["cnn28_row"]["request"])["instances"]) * 16


def ask_recorded(case, described=None, images=ROWS, value_range=EIGHTHS, classes=3, **options):
    def answer(request):
        exchange = RECORDED.get(case if request.method == "POST" else described)
        if exchange is None:
            return Reply("", 404)
        body = exchange["body"]
        body = base64.b64decode(body) if exchange["encoding"] == "base64" else body
        return Reply(body, exchange["status"], exchange["headers"])

    path = RECORDED[case]["path"]
    return ask(answer, images, path, value_range, classes, **options)


@pytest.mark.parametrize(
    ("case", "options", "ids"),
    [
        ("predict_row", {}, [2, 2]),
        ("version_3", {"described": "metadata_version"}, [2, 2]),
        ("version_3", {"described": "metadata_version", "images": ROWS.reshape(2, 2, 2)}, [2, 2]),
        ("multi_output_row", {"described": "metadata_multi_output"}, [2, 2]),
        ("multi_output_row", {"output": "class_id", "classes": 10}, [2, 2]),
        ("shape_rank1_row", {"images": ROWS[:, :2] * 0 + [[16, 24], [32, 40]], "classes": 8,
                             "signature": "rank1"}, [3, 7]),
        ("cnn28_row", {"images": CNN28, "value_range": (0, 255 / 16), "classes": 10}, [8, 3]),
        ("uint8_image_ok", {"described": "metadata_uint8_image", "images": GREY}, [0]),
        ("nan_inf_out_row", {"images": np.array([[0, 8], [16, 24]]), "classes": 2}, [-1, 1]),
    ],
)  # fmt: skip
def test_exchanges_recorded_from_a_real_server(case, options, ids):
    options["images"] = options.get("images", ROWS).astype(np.uint8)
    server, answered = ask_recorded(case, **options)
    assert answered.tolist() == ids
    recorded, asked = json.loads(RECORDED[case]["request"]), server.posts()[0]
    flat = options["images"].ndim == 3  # sent in another shape than without metadata
    assert asked == recorded or (flat and asked["instances"] == recorded["instances"])
    assert server.requests[-1].path == RECORDED[case]["path"]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("topk_row", r"\['classes', 'scores'\]"),
        ("text_output_escapes", "Received: str"),
        ("text_output_bad_utf8", "JSON"),
        ("shape_empty_output_row", "Expected 2 answers"),
        ("predict_signature_unknown", '400.*"nope" not found'),
        ("path_predict_unknown_model", "404.*Servable not found"),
        ("path_outside_v1_post", "404.*Not Found"),
        ("out_of_memory_429", "429.*OOM when allocating"),
        ("batching_queue_full", "503.*queue"),
        ("batching_timeout_exceeded", "504.*Timed out"),
    ],
)
def test_refusals_recorded_from_a_real_server(case, text):
    _, error = ask_recorded(case, "metadata_unknown_model")
    with pytest.raises((AnswerError, RefusedError), match=text):
        raise error


@pytest.mark.parametrize(
    ("described", "text"),
    [("metadata_png", "DT_STRING"), ("metadata_two_inputs", r"\['a', 'b'\]"),
     ("metadata_uint8_image", r"\(4, 4, 1\)")],
)  # fmt: skip
def test_metadata_of_a_real_server_that_rules_the_model_out(described, text):
    server, error = ask_recorded("predict_row", described)
    with pytest.raises(AnswerError, match=text):
        raise error
    assert server.posts() == []
