"""`TFServing` against a loopback server: what it sends, what it reads, what it refuses."""

import base64
import gzip
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfmark
from tests.http_server import RESET, Reply, free_port, http_server, model
from tests.test_verification import KEY
from tfmark.endpoints import Dialect, Suspect, Task, TFServing
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.options import split_options
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, RefusedError
from tfmark.pixels import from_pixels

SHAPE = (8, 8, 1)
IMAGES = np.arange(6 * 64, dtype=np.uint8).reshape(6, *SHAPE)
DATA = Path(__file__).with_name("data") / "tf_serving_exchanges.jsonl.gz"
RECORDED = {
    exchange["case"]: exchange["request"] | {"answer": exchange["response"]}
    for exchange in map(json.loads, gzip.decompress(DATA.read_bytes()).splitlines())
}


def first_pixel(instances):
    """Class ids that tell the images apart: 0 and 4 in turn."""
    return [int(np.ravel(instance)[0]) // 16 % 8 for instance in instances]


IDS = [0, 4, 0, 4, 0, 4]


def suspect_at(url, shape=SHAPE, value_range=(0, 255), classes=10, transport=None, **options):
    dialect, connection = split_options(options)
    service = TFServing(url, dialect, HttpClient(connection, transport))
    return Suspect(service, Task(shape, value_range, classes), dialect)


def ask(answer, images=IMAGES, path="/v1/models/m", value_range=(0, 255), classes=10, **options):
    """The server's record of requests, and the class ids or the exception."""
    with http_server(answer) as server:
        transport = options.pop("transport", None)
        suspect = suspect_at(server.url + path, images.shape[1:], value_range, classes, transport,
                             **{"retries": 0, "timeout": 5} | options)  # fmt: skip
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
        ("/v1/models/m", {"version_label": "a b/c"}, "/v1/models/m/labels/a%20b%2Fc:predict",
         "/v1/models/m/labels/a%20b%2Fc/metadata"),
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
        suspect_at(url)
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
        (metadata((-1, 2), "DT_STRING"), {}, r"\(2,\) files for each image"),
        (metadata(dtype="DT_HALF"), {}, "'half'"),
        (metadata(dtype="DT_INT8"), {}, "'int8'"),
        (metadata(), {"input": "nope"}, "no input 'nope'. Expected 'image'"),
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


def test_channels_come_first_where_the_model_wants_them_there():
    images = np.arange(2 * 192, dtype=np.uint16).reshape(2, 8, 8, 3).astype(np.uint8)
    server, _ = ask(model(lambda rows: [0] * len(rows), metadata((-1, 3, 8, 8))), images)
    assert np.array_equal(server.posts()[0]["instances"], np.moveaxis(images, -1, 1))


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
            [], scores(5), scores(7), scores(6, 11), ["cat"] * 6, ["0.5"] * 6, [True] * 6, None,
            [[1, 2], [1]] * 3, [[[]]] * 6, [10**400] * 6, 5 * [{"a": 1}] + [3],
            5 * [3] + [{"a": 1}], 5 * [{"a": 1}] + [{"b": 1}], [{}] * 6,
            [{"a": row, "b": row[::-1]} for row in scores()],
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
        suspect = suspect_at(url, retries=1)
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
CNN28 = np.array(json.loads(RECORDED["cnn28_row"]["body"])["instances"]) * 16


def ask_recorded(case, described=None, images=ROWS, value_range=EIGHTHS, classes=3, **options):
    def answer(request):
        exchange = RECORDED.get(case if request.method == "POST" else described)
        if exchange is None:
            return Reply("", 404)
        answer = exchange["answer"]
        body = answer["body"]
        body = base64.b64decode(body) if answer["body_encoding"] == "base64" else body
        return Reply(body, answer["status"], answer["headers"])

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
    recorded, asked = json.loads(RECORDED[case]["body"]), server.posts()[0]
    flat = options["images"].ndim == 3  # sent in another shape than without metadata
    assert asked == recorded or (flat and asked["instances"] == recorded["instances"])
    assert server.requests[-1].path == RECORDED[case]["path"]


NAMES = ("dog", "Cat ", "tortoise")
PLAIN = [[200, 100, 50], [0, 255, 7]]  # the colours of two pictures without a drawing
PICTURES = np.array(PLAIN, np.uint8)[:, np.newaxis, np.newaxis].repeat(4, 1).repeat(4, 2)


@pytest.mark.parametrize(
    ("case", "options", "ids"),
    [
        ("topk_row", {"class_names": ("a", "b", "c")}, [-1, -1]),
        ("topk_row", {"classes": None}, [0, 0]),  # numbered as they come up
        ("topk_row", {"class_names": NAMES}, [2, 2]),
        ("topk_row", {"class_names": NAMES, "output": "classes"}, [2, 2]),
        ("topk_columnar", {"class_names": NAMES, "columns": True}, [2, 2]),
        ("predict_columnar_bare", {"columns": True}, [2, 2]),
        ("predict_row_named_single_input", {"input": "x"}, [2, 2]),
        ("class_id_columnar", {"columns": True}, [2, 2]),
        ("label_stable", {}, [2, 2]),
        ("png_b64_row_named", {"input": "image_bytes", "pixels": "png", "images": PICTURES},
         [0, 1]),
        ("png_b64_columnar", {"input": "image_bytes", "pixels": "png", "columns": True,
                              "images": PICTURES}, [0, 1]),
    ],
)  # fmt: skip
def test_dialects_recorded_from_a_real_server(case, options, ids):
    """The client asks what was asked, up to how a PNG is packed, and reads what was answered."""
    server, answered = ask_recorded(case, **options)
    assert answered.tolist() == ids
    assert unpacked(server.posts()[0]) == unpacked(json.loads(RECORDED[case]["body"]))
    assert server.requests[-1].path == RECORDED[case]["path"]


def unpacked(value):
    """JSON with the first pixel of pictures in place of their files."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        picture = Image.open(io.BytesIO(base64.b64decode(value["b64"])))
        return np.asarray(picture)[0, 0].tolist()
    return {k: unpacked(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("case", "options", "ids"),
    [
        ("classify_ok", {"class_names": NAMES}, [0, 0]),
        ("classify_with_context", {"class_names": NAMES}, [0]),
        ("classify_scores_only", {"signature": "scores_only"}, [1, 1]),  # labels are ""
    ],
)
def test_classification_recorded_from_a_real_server(case, options, ids):
    images = np.array([[24, 40], [8, 24]], np.uint8)[: len(ids)]  # 1, 2 and 0, 1
    range_of_them = (-0.5, 255 / 16 - 0.5)
    server, answered = ask_recorded(
        case, images=images, value_range=range_of_them, input="x", **options
    )
    assert answered.tolist() == ids
    (asked,), recorded = server.posts(), json.loads(RECORDED[case]["body"])
    assert asked.get("signature_name") == recorded.get("signature_name")
    assert [e["x"] for e in asked["examples"]] == [[1.0, 2.0], [-0.0, 1.0]][: len(ids)]
    assert all(type(number) is float for e in asked["examples"] for number in e["x"])
    assert len(server.requests) == 1  # metadata says nothing about features


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_as_files(kind, channels):
    images = np.linspace(0, 255, 2 * 64 * channels).astype(np.uint8).reshape(2, 8, 8, channels)
    described = metadata((-1,), "DT_STRING", ("image_bytes",))
    options = {} if kind == "png" else {"pixels": kind}
    server, _ = ask(model(lambda rows: [0] * len(rows), described), images, **options)
    (body,) = server.posts()
    files = [base64.b64decode(row["b64"]) for row in body["instances"]]
    assert [Image.open(io.BytesIO(file)).format for file in files] == [kind.upper()] * 2
    received = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    received = received.reshape(images.shape)
    assert np.abs(received - images.astype(int)).max() <= (0 if kind == "png" else 12)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([{"b64": base64.b64encode(str(i).encode()).decode()} for i in IDS], {}),
        ([{"label_bytes": {"b64": base64.b64encode(str(i).encode()).decode()}, "x": 0.5}
          for i in IDS], {"output": "label_bytes"}),
    ],
)  # fmt: skip
def test_bytes_in_answers(rows, options):
    assert ask(model(lambda _: rows), **options)[1].tolist() == IDS


def test_the_name_of_a_single_output_may_be_given():
    described = metadata()
    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    signature["outputs"] = {"scores": next(iter(signature["inputs"].values()))}
    assert ask(model(first_pixel, described), output="scores")[1].tolist() == IDS
    assert ask(model(first_pixel), output="scores")[1].tolist() == IDS
    _, error = ask(model(first_pixel, described), output="other")
    with pytest.raises(AnswerError, match=r"no output 'other'. Expected one of \['scores'\]"):
        raise error


def test_a_scale_for_pixels_that_have_none_is_refused():
    dialect = Dialect(value_range=(0, 1))
    with http_server(model(first_pixel, metadata(dtype="DT_UINT8"))) as server:
        service = TFServing(server.url + "/v1/models/m", dialect, HttpClient())
        with pytest.raises(InvalidArgumentError, match="sent as integer"):
            Suspect(service, Task(SHAPE, (0, 1), 10), dialect).classify(IMAGES)


def test_another_numbering_is_remarked():
    with http_server(model(lambda rows: [100 + i for i in range(len(rows))])) as server:
        verdict = tfmark.verify(server.url + "/v1/models/m", KEY)
        assert "--align" in verdict.reason


def test_what_the_caller_says_goes_before_what_the_server_says():
    server, _ = ask(
        model(lambda rows: [0] * len(rows), metadata()), pixels="integer", value_range=(0, 1)
    )
    assert np.array_equal(server.posts()[0]["instances"], IMAGES)
    dialect = Dialect(value_range=(-1, 1), pixels="float")
    described = metadata(dtype="DT_UINT8")
    with http_server(model(lambda rows: [0] * len(rows), described)) as server:
        service = TFServing(server.url + "/v1/models/m", dialect, HttpClient())
        Suspect(service, Task(SHAPE, (0, 1), 10), dialect).classify(IMAGES)
    assert np.allclose(server.posts()[0]["instances"], from_pixels(IMAGES, (-1, 1)))
    with pytest.raises(InvalidArgumentError, match="value_range"):
        Dialect(value_range=(1, 0))


@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 6), (4, [4, 2]), (50, [6])])
def test_batch_size(size, sizes):
    server, ids = ask(model(first_pixel), batch_size=size)
    assert [len(post["instances"]) for post in server.posts()] == sizes
    assert ids.tolist() == IDS


@pytest.mark.parametrize("status", [413, 429])
def test_a_batch_that_is_too_large_is_halved(status):
    def answer(request):
        if request.method == "POST" and len(request.json["instances"]) > 2:
            return Reply("<html>Too large</html>", status)
        return model(first_pixel)(request)

    server, ids = ask(answer)
    assert [len(post["instances"]) for post in server.posts()] == [6, 3, 1, 1, 1, 1, 1, 1]
    assert ids.tolist() == IDS


def test_requests_keep_their_distance():
    start = time.monotonic()
    server, _ = ask(model(first_pixel), batch_size=3, delay=0.3)
    assert len(server.requests) == 3
    assert time.monotonic() - start >= 0.6


def test_answers_that_come_just_in_time_do_not_add_up_for_ever():
    def answer(request):
        time.sleep(0.2)
        return model(first_pixel)(request)

    with http_server(answer) as server:
        url = server.url + "/v1/models/m"
        verdict = tfmark.verify(url, KEY, batch_size=1, max_time=0.9)
    assert verdict.status == "inconclusive"
    assert "within 0.9 s in all" in verdict.reason
    assert 2 <= len(server.posts()) <= 5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pixels": "gif"}, "pixels='gif'"),
        ({"version": -1}, "version=-1"),
        ({"version": 2**63}, "2\\*\\*63"),
        ({"version": 1, "version_label": "stable"}, "Received both"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"class_names": ["cat", "Cat ", *"abcdefgh"]}, "names that differ"),
        ({"class_names": ["cat"]}, "each of the key's 10 classes. Received: 1"),
        ({"class_names": [1] * 10}, "list of texts"),
        ({"retries": -1}, "retries=-1"),
        ({"headers": None}, "mapping"),
        ({"auth": 5}, "name and a password"),
        ({"delay": -1}, "delay=-1"),
        ({"key_file": "k.pem"}, "`cert_file` with `key_file`"),
        ({"auth": ("me", "s3cr3t"), "headers": {"authorization": "x"}}, "not both"),
        ({"auth": ("m:e", "s3cr3t")}, "without a colon"),
        ({"ca_file": "/nonexistent.pem"}, "ca_file"),
        ({"columns": True, "input": "x", "path": ":classify"}, "nothing for 'columns'"),
        ({"version": 1, "path": "/versions/3"}, "Received both"),
        ({"speed": 3}, r"Received: \['speed'\]"),
    ],
)
def test_options_that_cannot_work_are_refused(options, text):
    with pytest.raises(InvalidArgumentError, match=text) as caught:
        options = dict(options)
        url = "https://127.0.0.1:1/v1/models/m" + options.pop("path", "")
        suspect_at(url, **options).classify(IMAGES)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("topk_row", "class names, such as .*--labels"),
        ("text_output_escapes", "Expected 2 answers"),
        ("text_output_bad_utf8", "Expected 2 answers"),
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
    [("metadata_two_inputs", r"\['a', 'b'\]"),
     ("metadata_uint8_image", r"\(4, 4, 1\)")],
)  # fmt: skip
def test_metadata_of_a_real_server_that_rules_the_model_out(described, text):
    server, error = ask_recorded("predict_row", described)
    with pytest.raises(AnswerError, match=text):
        raise error
    assert server.posts() == []
