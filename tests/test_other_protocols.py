"""KServe, the Open Inference Protocol and MLflow, as real servers spoke when they were recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

import tfmark
from tests.http_server import RESET, Reply, http_server
from tests.test_verification import KEY
from tfmark.endpoints import Suspect, Task
from tfmark.endpoints.choosing import describe, service_from
from tfmark.endpoints.options import split_options
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, RefusedError
from tfmark.probing import report, verify_command

RECORDED = json.loads((Path(__file__).parent / "data" / "other_protocols.json").read_text("utf-8"))
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CASES = {(e["server"].split()[0], e["protocol"], e["case"]): e for e in RECORDED}


def images(count):
    """The pictures that were sent: the first ones of a recorded request."""
    body = CASES["mlflow", "mlflow", "predict_instances_3"]["request"]["body"]
    return np.array(json.loads(body)["instances"], np.uint8)[:count]


class Replay:
    """Answers as a server did: by path, and by what was posted up to its `id`."""

    def __init__(self, server, only=None):
        self.exchanges = [e for e in RECORDED if e["server"].split()[0] == server]
        if only is not None:
            self.exchanges = [e for e in self.exchanges if only(e)]

    def __call__(self, request):
        for exchange in self.exchanges:
            asked, answer = exchange["request"], exchange["response"]
            if (asked["method"], asked["path"]) != (request.method, request.path):
                continue
            if request.method == "POST" and content(asked["body"]) != content(request.body):
                continue
            if request.method == "POST" and asked.get("body_note"):
                continue
            body = answer.get("body", "")
            return Reply(body, answer["status"], {"Content-Type": "application/json"})
        return Reply(json.dumps({"error": f"never recorded: {request.path}"}), 418)


def content(body):
    try:
        value = json.loads(body)
    except ValueError:
        return body
    if isinstance(value, dict):
        value.pop("id", None)
        for tensor in value.get("inputs", ()) if isinstance(value.get("inputs"), list) else ():
            if isinstance(tensor, dict):
                tensor["data"] = np.ravel(tensor["data"]).tolist()
    return value


def ask(answer, path, pictures, classes=10, **options):
    with http_server(answer) as server:
        dialect, connection = split_options({"retries": 0, "timeout": 5} | options)
        service = service_from(server.url + path, dialect, connection)
        suspect = Suspect(service, Task(pictures.shape[1:], (0, 255), classes), dialect)
        try:
            return server, suspect.classify(pictures).tolist()
        except EndpointError as error:
            return server, error


@pytest.mark.parametrize(
    ("server", "path", "options", "count", "expected"),
    [
        ("kserve", "/v1/models/digits", {}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/digits:predict", {"protocol": "kserve-v1"}, 1, [6]),
        ("kserve", "/v1/models/multi", {}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/multi", {"output": "class_id"}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/ids", {}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/labels", {"class_names": NAMES}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/label_prob", {"class_names": NAMES}, 3, [6, 3, 9]),
        ("kserve", "/v1/models/nan", {}, 1, [-1]),
        ("kserve", "/v2/models/digits", {"input": "image"}, 3, [6, 3, 9]),
        ("kserve", "/v2/models/multi/infer", {"input": "image"}, 3, [6, 3, 9]),
        ("kserve", "/v2/models/labels", {"input": "image", "class_names": NAMES}, 3, [6, 3, 9]),
        ("kserve", "/v2/models/nan", {"input": "image"}, 1, [-1]),
        ("mlserver", "/v2/models/digits", {}, 3, [6, 3, 9]),
        ("mlserver", "/v2/models/multi", {"input": "image"}, 3, [6, 3, 9]),
        ("mlserver", "/v2/models/labels", {"class_names": NAMES}, 3, [6, 3, 9]),
        ("mlserver", "/v2/models/nan", {"input": "image"}, 1, [-1]),
        ("triton", "/v2/models/digits", {}, 3, [6, 3, 9]),
        ("triton", "/v2/models/digits", {"version": 1, "input": "image"}, 1, [6]),
        ("triton", "/v2/models/multi", {"input": "image"}, 3, [6, 3, 9]),
        ("triton", "/v2/models/multi", {"input": "image", "output": "class_id"}, 3, [6, 3, 9]),
        ("triton", "/v2/models/labels", {"class_names": NAMES}, 3, [6, 3, 9]),
        ("triton", "/v2/models/uint8", {}, 1, [6]),
        ("triton", "/v2/models/nobatch", {}, 1, [6]),
        ("triton", "/v2/models/nan", {"input": "image"}, 1, [-1]),
        ("mlflow", "/invocations", {}, 3, [6, 3, 9]),
        ("mlflow", "", {"protocol": "mlflow", "columns": True}, 1, [6]),
        ("mlflow", "/invocations", {"input": "image", "model": "named_predict"}, 2, [6, 3]),
        ("mlflow", "/invocations", {"model": "multi"}, 3, [6, 3, 9]),
        ("mlflow", "/invocations", {"model": "multi", "output": "class_id"}, 3, [6, 3, 9]),
        ("mlflow", "/invocations", {"model": "labels_list", "class_names": NAMES}, 3, [6, 3, 9]),
        ("mlflow", "/invocations", {"model": "labels_frame", "class_names": NAMES}, 3, [6, 3, 9]),
        ("mlflow", "/invocations", {"model": "labels_prob", "class_names": NAMES}, 3, [6, 3, 9]),
        ("mlflow", "/invocations", {"model": "labels_ids"}, 3, [6, 3, 9]),
    ],
)
def test_real_servers_are_understood(server, path, options, count, expected):
    options = dict(options)
    model = options.pop("model", None)
    replay = Replay(server, model and (lambda e: e["case"].startswith(model)))
    _, answered = ask(replay, path, images(count), **options)
    assert answered == expected


@pytest.mark.parametrize(
    ("server", "path", "options", "text"),
    [
        ("kserve", "/v1/models/nope", {}, "404.*nope does not exist"),
        ("kserve", "/v1/models/digits", {"input": "image"}, "500.*ValueError"),
        (
            "kserve",
            "/v2/models/digits",
            {"version": 1, "input": "image"},
            "501.*versioning not supported",
        ),
        ("triton", "/v2/models/digits", {"input": "pixels"}, "no input 'pixels'.*'image'"),
        ("triton", "/v2/models/digits", {"version": 9, "input": "image"}, "404.*version 9"),
        ("triton", "/v2/models/uint8", {"pixels": "float"}, "400.*data-type is 'FP32'"),
        ("mlserver", "/v2/models/nope", {"input": "image"}, "404.*not found|418"),
        ("mlflow", "/invocations", {"input": "image", "columns": True}, "400.*Failed to parse"),
    ],
)
def test_refusals_of_real_servers(server, path, options, text):
    replay = Replay(server, lambda e: not e["case"].startswith(("named_p", "named_w", "nosig")))
    _, error = ask(replay, path, images(1), **options)
    with pytest.raises((RefusedError, AnswerError), match=text):
        raise error
    shown = [number for number in images(1).ravel().tolist() if str(number) in str(error)]
    assert len(shown) < 20  # some of these servers send the picture back


def test_a_batch_over_the_limit_of_triton_is_halved():
    refusal = CASES["triton", "v2", "infer_9_over_max_batch"]["response"]
    sizes = []

    def answer(request):
        if request.method == "GET":
            return Replay("triton")(request)
        count = request.json["inputs"][0]["shape"][0]
        sizes.append(count)
        if count > 8:
            return Reply(refusal["body"], refusal["status"])
        output = {"name": "id", "datatype": "INT64", "shape": [count], "data": [7] * count}
        return Reply(json.dumps({"outputs": [output]}))

    _, answered = ask(answer, "/v2/models/digits", np.tile(images(3), (3, 1, 1, 1)))
    assert answered == [7] * 9
    assert sizes == [9, 4, 4, 1]


@pytest.mark.parametrize(
    "outputs",
    [
        None, [], [{}], [{"name": "a"}], [{"name": "a", "data": [1]}], "no",
        [{"name": "a", "shape": [2], "data": [1]}],
        [{"name": "a", "shape": [10**30], "data": [1]}],
        [{"name": "a", "shape": [-1, 0], "data": [1]}],
        [{"name": "a", "shape": ["x"], "data": [1]}],
        [{"name": "a", "shape": [None], "data": [1]}],
        [{"name": "a", "shape": [1] * 99, "data": [1]}],
        [{"name": "a", "shape": [1], "data": {"0": 1}}],
        [{"name": "a", "shape": [1], "data": [{}]}],
        [{"name": "a", "shape": [], "data": [1]}],
        [{"name": "a", "shape": [10**7, 0], "data": []}],
        [{"name": "a", "shape": [10**12, 0], "data": []}],
        [{"name": "a", "shape": [0], "data": []}],
        [{"name": "a", "shape": [True], "data": [1]}],
    ],
    ids=range(19),
)  # fmt: skip
def test_hostile_tensors_are_one_clear_error(outputs):
    reply = Reply(json.dumps({"outputs": outputs}))
    _, error = ask(
        lambda r: reply if r.method == "POST" else Reply("", 404), "/v2/models/m", images(1)
    )
    assert isinstance(error, AnswerError)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("server", "path", "protocol", "tensor", "command"),
    [
        ("kserve", "/v1/models/digits", "kserve-v1", None, "--protocol kserve-v1"),
        ("kserve", "/v2/models/typed", "open-inference", "'image' float32 (-1, 8, 8, 1)", ""),
        ("kserve", "/v2/models/digits", "open-inference", None, ""),
        ("mlserver", "/v2/models/png", "open-inference", "'image' string (-1, 1)", ""),
        (
            "triton",
            "/v2/models/uint8",
            "open-inference (python)",
            "'image' uint8 (-1, 8, 8, 1)",
            "",
        ),
        ("triton", "/v2/models/nobatch", "open-inference (python)", "(8, 8, 1)", ""),
        ("mlflow", "/invocations", "mlflow", None, ""),
        ("mlflow", "", "mlflow", None, ""),
    ],
)
def test_probing_real_servers(server, path, protocol, tensor, command):
    with http_server(Replay(server)) as running:
        service, found = describe(running.url + path, *split_options({"timeout": 5, "retries": 0}))
    assert found.protocol == protocol
    lines = "\n".join(fact for _, fact in report(found))
    assert (tensor or "tells nothing of its inputs") in lines
    expected = f"tfmark verify KEY {service.address} {command}".strip()
    assert verify_command(service.address, found, []) == expected
    assert all(
        request.method == "GET" for request in running.requests if "index" not in request.path
    )


@pytest.mark.parametrize(("server", "listed"), [("kserve", "/v2/models/digits"),
                                                ("mlserver", "/v2/models/digits")])  # fmt: skip
def test_the_address_of_a_server_with_several_models_names_them(server, listed):
    with http_server(Replay(server)) as running:
        with pytest.raises(EndpointError, match="several models") as caught:
            service_from(running.url, *split_options({"timeout": 5}))
        assert running.url + listed in str(caught.value)


def test_an_address_that_does_not_tell_is_asked():
    def answer(request):
        if request.path == "/v1/models":
            return Reply(json.dumps({"models": ["only one"]}))
        if request.path == "/v1/models/only%20one":
            return Reply(json.dumps({"name": "only one", "ready": True}))
        return Reply("", 404)

    with http_server(answer) as server:
        service = service_from(server.url, *split_options({}))
        assert service.address == server.url + "/v1/models/only%20one"
    with http_server(lambda _: Reply("<html>Welcome</html>")) as server:
        with pytest.raises(EndpointError, match="does not say which models it has"):
            service_from(server.url, *split_options({}))
        opaque = service_from(server.url + "/api/digits", *split_options({}))
        assert opaque.address == server.url + "/api/digits"


@pytest.mark.parametrize("options", [{}, {"signature": "s"}, {"version": 1}])
def test_a_gateway_that_lets_predictions_through_alone(options):
    def answer(request):
        if request.method == "POST" and request.path.endswith(":predict"):
            return Reply(json.dumps({"predictions": [7]}))
        return [RESET] if "repository" in request.path else Reply("<html>No</html>", 403)

    _, answered = ask(answer, "/gateway/digits", images(1), **options)
    assert answered == [7]


@pytest.mark.parametrize("names", [["\ud800"], [5], "digits", [""], ["a\nb"], [None, {}]])
def test_odd_lists_of_models_are_no_models(names):
    with (
        http_server(lambda _: Reply(json.dumps({"models": names}))) as server,
        pytest.raises(EndpointError, match="does not say which models"),
    ):
        service_from(server.url, *split_options({"retries": 0}))


@pytest.mark.parametrize("listed", [["s3cr3t+t0ken/x", "b"], ["s3cr3t+t0ken/x"]])
def test_credentials_are_taken_out_of_names_of_models(listed):
    secret = {"X-Api-Key": "s3cr3t+t0ken/x"}
    with http_server(lambda _: Reply(json.dumps({"models": listed}))) as server:
        verdict = tfmark.verify(server.url, KEY, headers=secret, retries=0)
    assert verdict.status == "inconclusive"
    assert "s3cr3t" not in verdict.reason


@pytest.mark.parametrize(
    "address",
    ["http://[::1/v1/models/m", "http://[zz]/v1/models/m", "http://a\u2100b/v1/models/m", "x" * 300,
     "a\0b", "http://h:port/v1/models/m"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused(address):
    with pytest.raises(InvalidArgumentError, match="Expected"):
        tfmark.verify(address, KEY)


@pytest.mark.parametrize("path", ["/invocations", "/v1/models/m"])
def test_version_0_is_a_version(path):
    options = {"version": 0, "protocol": "mlflow" if "inv" in path else "kserve-v1"}
    with pytest.raises(InvalidArgumentError, match="nothing for 'version'"):
        service_from("http://127.0.0.1:9" + path, *split_options(options))


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InvalidArgumentError, match="'gopher'"):
        service_from("http://127.0.0.1:1/v1/models/m", *split_options({"protocol": "gopher"}))
