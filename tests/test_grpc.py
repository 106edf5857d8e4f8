"""`TFServingGrpc` against real gRPC servers on loopback, with TensorFlow Serving's own messages."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2

import tfmark
from tests.http_server import Reply, free_port, http_server
from tfmark.endpoints import Connection, Dialect, Suspect, Task
from tfmark.endpoints.grpc_serving import TFServingGrpc
from tfmark.endpoints.tensor_protos import read_tensor
from tfmark.errors import (
    AnswerError,
    EndpointError,
    InvalidArgumentError,
    RefusedError,
    UnreachableError,
)

grpc = pytest.importorskip("grpc", reason="the extra `grpc` is not installed")
apis = pytest.importorskip("tensorflow_serving.apis", reason="the extra `grpc` is not installed")

SHAPE = (8, 8, 1)
NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]
BASES = np.random.default_rng(10).integers(0, 256, (96, *SHAPE), np.uint8)
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def new_key(number):
    return tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=SHAPE, num_classes=10, num_marks=48,
        base_images=BASES, secret=bytes([number] * 32),
    )  # fmt: skip


KEY, OTHER = new_key(1), new_key(2)
TASK = Task(SHAPE, (0, 255), 10)
IMAGES = KEY.triggers().pixels[:6]
LABELS = KEY.triggers().labels


def answer_with(**outputs):
    """A response with outputs as TensorFlow packs them."""
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictResponse

    response = PredictResponse()
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(
            value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
        )
    return response


def ids_of(request):
    """The classes that a model with the watermark of `KEY` gives to the images of a request."""
    import tensorflow as tf

    (tensor,) = request.inputs.values()
    images = tf.make_ndarray(tensor)
    if images.dtype == object:
        images = np.array([tf.io.decode_png(file, 1).numpy() for file in images.ravel()])
    flat = images.reshape(len(images), -1).astype(np.float64)
    triggers = KEY.triggers().pixels.reshape(48, -1).astype(np.float64)
    return LABELS[((flat[:, None] - triggers) ** 2).sum(-1).argmin(1)]


def scores(request, _):
    return answer_with(scores=np.eye(10, dtype=np.float32)[ids_of(request)])


class Server:
    """A model server: TensorFlow Serving's two services, answered by functions."""

    def __init__(self, predict, metadata):
        self.requests, self.predict, self.metadata = [], predict, metadata
        self.ending = threading.Event()

    def answer(self, kind, request, context):
        self.requests.append((kind, request, dict(context.invocation_metadata())))
        if kind == "Predict":
            return self.predict(request, context)
        if kind == "GetModelStatus":
            from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

            response = GetModelStatusResponse()
            for version, state in ((1, 50), (2, 30), (3, 30)):
                response.model_version_status.add(version=version, state=state)
            return response
        if self.metadata is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "No metadata here.")
        return self.metadata

    def asked(self, kind="Predict"):
        return [request for asked, request, _ in self.requests if asked == kind]


def add_services(server, record):
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    def method(kind):
        return lambda _, request, context: record.answer(kind, request, context)

    names = {"Predict": method("Predict"), "GetModelMetadata": method("GetModelMetadata")}
    prediction = type("P", (prediction_service_pb2_grpc.PredictionServiceServicer,), names)
    status = {"GetModelStatus": method("GetModelStatus")}
    model = type("M", (model_service_pb2_grpc.ModelServiceServicer,), status)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(model(), server)


def add_raw(server, respond):
    """Answers that are any bytes."""
    handler = grpc.unary_unary_rpc_method_handler(respond)
    handlers = grpc.method_handlers_generic_handler(
        "tensorflow.serving.PredictionService", {"Predict": handler, "GetModelMetadata": handler}
    )
    server.add_generic_rpc_handlers((handlers,))


def metadata(dtype=1, shape=(-1, *SHAPE), **options):
    """The signatures of a model, as a server tells them."""
    from tensorflow_serving.apis.get_model_metadata_pb2 import (
        GetModelMetadataResponse,
        SignatureDefMap,
    )

    signatures = SignatureDefMap()
    for name in ("serving_default", "other", "__saved_model_init_op"):
        tensor = signatures.signature_def[name].inputs[options.get("name", "image")]
        tensor.dtype = dtype
        tensor.tensor_shape.unknown_rank = shape is None
        for side in shape or ():
            tensor.tensor_shape.dim.add(size=side)
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    return response


DEFAULT = object()


@contextmanager
def serving(predict=scores, told=DEFAULT, credentials=None, raw=None, port=0, **options):
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)], **options)
    record = Server(predict, metadata() if told is DEFAULT else told)
    if raw is None:
        add_services(server, record)
    else:
        add_raw(server, raw)
    address = f"127.0.0.1:{port}"
    bound = (
        server.add_secure_port(address, credentials)
        if credentials
        else server.add_insecure_port(address)
    )
    record.url = f"grpc{'s' if credentials else ''}://127.0.0.1:{bound}/digits"
    server.start()
    try:
        yield record
    finally:
        record.ending.set()
        server.stop(0).wait()


def suspect(url, connection=None, **dialect):
    said = Dialect(**dialect)
    connection = {"retries": 0, "timeout": 20} | (connection or {})
    return Suspect(TFServingGrpc(url, said, Connection(**connection)), TASK, said)


def classify(url, connection=None, images=IMAGES, **dialect):
    """Class ids, or the error."""
    try:
        return suspect(url, connection, **dialect).classify(images)
    except EndpointError as error:
        assert len(str(error).splitlines()) == 1
        return error


def test_owned_and_not_shown():
    with serving() as server:
        assert tfmark.verify(suspect(server.url), KEY).owned
        assert tfmark.verify(suspect(server.url), OTHER).status == "not shown"
        first, second = server.asked()[:2]
    assert first.model_spec.name == "digits"
    assert first.model_spec.signature_name == ""
    assert first.model_spec.WhichOneof("version_choice") is None
    assert list(first.output_filter) == []
    assert second.inputs.keys() == {"image"}


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ({"version": 7}, {"version": 7}),
        ({"version_label": "stable"}, {"version_label": "stable"}),
        ({"signature": "other"}, {"signature_name": "other"}),
        ({"output": "scores"}, {"output_filter": ["scores"]}),
        ({"batch_size": 4}, {}),
        ({"input": "image"}, {}),
    ],
)
def test_what_is_asked(dialect, expected):
    with serving() as server:
        assert (classify(server.url, **dialect) == LABELS[:6]).all()
        request = server.asked()[-1]
        told = server.asked("GetModelMetadata")[0]
    spec = request.model_spec
    assert spec.version.value == expected.get("version", 0)
    assert spec.version_label == expected.get("version_label", "")
    assert spec.signature_name == expected.get("signature_name", "")
    assert list(request.output_filter) == expected.get("output_filter", [])
    assert told.model_spec.version == spec.version
    assert told.model_spec.version_label == spec.version_label
    assert list(told.metadata_field) == ["signature_def"]


@pytest.mark.parametrize(
    ("number", "shape", "dialect"),
    [
        (1, (-1, *SHAPE), {}), (2, (-1, 64), {}), (3, (4, *SHAPE), {}), (4, (-1, 8, 8), {}),
        (5, None, {}), (9, (-1, *SHAPE), {}), (14, (-1, *SHAPE), {}), (17, (-1, *SHAPE), {}),
        (19, (-1, *SHAPE), {}), (22, (-1, *SHAPE), {}), (23, (-1, *SHAPE), {}),
        (7, (-1,), {}), (7, (-1, 1), {"pixels": "png"}),
        (1, (-1, 1, 8, 8), {}), (1, (-1, *SHAPE), {"pixels": "integer"}),
    ],
)  # fmt: skip
def test_dtypes_and_shapes_that_models_expect(number, shape, dialect):
    with serving(told=metadata(number, shape)) as server:
        assert (classify(server.url, **dialect) == LABELS[:6]).all()
        (tensor,) = server.asked()[-1].inputs.values()
    assert tensor.dtype == number
    assert [dim.size for dim in tensor.tensor_shape.dim][1:] == list(shape or (-1, *SHAPE))[1:]


@pytest.mark.parametrize("number", [6, 8, 10, 20, 99])
def test_dtypes_that_images_cannot_be_sent_as(number):
    with serving(told=metadata(number)) as server:
        assert "images cannot be sent as" in str(classify(server.url))
        assert server.asked() == []


def test_images_of_another_shape_are_not_sent():
    with serving(told=metadata(shape=(-1, 28, 28, 1))) as server:
        assert "(28, 28, 1); the key is for (8, 8, 1)" in str(classify(server.url))
        assert server.asked() == []


def test_a_server_that_tells_nothing():
    with serving(told=None) as server:
        text = str(classify(server.url))
        assert "`input`" in text
        assert "UNIMPLEMENTED" in text
        assert (classify(server.url, input="image") == LABELS[:6]).all()


def test_description():
    with serving() as server:
        service = TFServingGrpc(server.url, Dialect(), Connection())
        described = service.describe()
        (asked,) = server.asked("GetModelStatus")
    assert asked.model_spec.name == "digits"
    assert (described.protocol, described.versions) == ("grpc", ("2", "3"))
    assert [each.name for each in described.signatures] == ["other", "serving_default"]
    assert str(described.signatures[0].inputs[0]) == "'image' float32 (-1, 8, 8, 1)"
    assert service.address == server.url


def packed(dtype, field, values, shape):
    """A tensor whose values stand one by one."""
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    tensor = TensorProto(dtype=dtype)
    getattr(tensor, field).extend(values)
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    return tensor


def outputs(kind, ids):
    """The same answer in many forms."""
    import tensorflow as tf

    table = np.eye(10)[ids] * 0.75
    n = len(ids)
    if kind in ("float32", "float64", "float16", "bfloat16"):
        return answer_with(y=tf.cast(table, kind))
    return {
        "float_val": lambda: answer_with(y=packed(1, "float_val", table.ravel(), table.shape)),
        "double_val": lambda: answer_with(y=packed(2, "double_val", table.ravel(), table.shape)),
        "half_val": lambda: answer_with(
            y=packed(19, "half_val", table.astype(np.float16).view(np.uint16).ravel(), table.shape)
        ),
        "bfloat16_val": lambda: answer_with(
            y=packed(14, "half_val", [0x3F40 if x else 0 for x in table.ravel()], table.shape)
        ),
        "int64": lambda: answer_with(y=ids),
        "int_val": lambda: answer_with(y=packed(6, "int_val", ids, (n, 1))),
        "uint64_val": lambda: answer_with(y=packed(23, "uint64_val", ids, (n,))),
        "strings": lambda: answer_with(y=[NAMES[i].encode() for i in ids]),
        "several": lambda: answer_with(near=np.zeros((n, 48)), scores=table, mean=0.5),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    ["float32", "float64", "float16", "bfloat16", "float_val", "double_val", "half_val",
     "bfloat16_val", "int64", "int_val", "uint64_val", "strings", "several"],
)  # fmt: skip
def test_answers(kind):
    with serving(lambda request, _: outputs(kind, ids_of(request))) as server:
        names = NAMES if kind == "strings" else None
        assert (classify(server.url, class_names=names) == LABELS[:6]).all()


def test_bfloat16_is_rounded_as_tensorflow_does(rng):
    import tensorflow as tf
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    from tfmark.endpoints.tensor_protos import read_tensor, write_numbers

    numbers = rng.normal(size=(1000, 3)).astype(np.float32) * 300
    numbers[0] = 1.00390625, 1.01171875, 0
    tensor = TensorProto()
    write_numbers(tensor, numbers, "bfloat16")
    expected = tf.cast(numbers, tf.bfloat16)
    assert tensor.tensor_content == tf.make_tensor_proto(expected).tensor_content
    assert (read_tensor(tensor) == tf.cast(expected, tf.float32).numpy()).all()


HUGE = 2**62
HOSTILE = {
    "nothing": lambda: answer_with(),
    "no dtype": lambda: answer_with(y=packed(0, "float_val", [1], (1,))),
    "a variant": lambda: answer_with(y=packed(21, "float_val", [1], (1,))),
    "an unknown dtype": lambda: answer_with(y=packed(1234, "float_val", [1], (1,))),
    "no values": lambda: answer_with(y=packed(1, "float_val", [], (6, 10))),
    "one value for all": lambda: answer_with(y=packed(1, "float_val", [1.0], (6, 10))),
    "one value for very many": lambda: answer_with(y=packed(1, "float_val", [1], (6, HUGE))),
    "one string for very many": lambda: answer_with(y=packed(7, "string_val", [b"a"], (6, 10**12))),
    "sides whose product overflows": lambda: answer_with(y=packed(1, "float_val", [], [HUGE] * 8)),
    "nothing of nothing": lambda: answer_with(y=packed(1, "float_val", [], (6, 0))),
    "too many values": lambda: answer_with(y=packed(1, "float_val", [1.0] * 99, (6, 10))),
    "negative sides": lambda: answer_with(y=packed(1, "float_val", [1.0] * 60, (-6, -10))),
    "an open side": lambda: answer_with(y=packed(1, "float_val", [1.0] * 60, (-1, 10))),
    "very many sides": lambda: answer_with(y=packed(1, "float_val", [1.0] * 6, [6] + [1] * 99_999)),
    "no images": lambda: answer_with(y=np.float32(1)),
    "one image": lambda: answer_with(y=np.ones((1, 10), np.float32)),
    "one string": lambda: answer_with(y=b"ant"),
    "ragged content": lambda: content(1, b"\0" * 239, (6, 10)),
    "too much content": lambda: content(1, b"\0" * 9999, (6, 10)),
    "content of strings": lambda: content(7, b"\0" * 6, (6,)),
    "numbers that are none": lambda: answer_with(y=np.full((6, 9), np.nan, np.float32)),
    "unknown rank": lambda: unknown_rank(),
}  # fmt: skip


def content(dtype, text, shape):
    tensor = packed(dtype, "float_val", [], shape)
    tensor.tensor_content = text
    return answer_with(y=tensor)


def unknown_rank():
    tensor = packed(1, "float_val", [1.0] * 6, ())
    tensor.tensor_shape.unknown_rank = True
    return answer_with(y=tensor)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tensors(kind):
    response = HOSTILE[kind]()
    with serving(lambda *_: response) as server:
        started = time.monotonic()
        found = classify(server.url)
    assert isinstance(found, AnswerError), found
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("body", [b"<html>", b"\xff" * 1000, b"\x0a\x03\x0a\x01", b""])
def test_hostile_bytes(body):
    with serving(raw=lambda *_: body) as server:
        assert isinstance(classify(server.url, input="image"), AnswerError)
        found = classify(server.url)  # metadata that is no metadata
    assert isinstance(found, AnswerError)


def test_metadata_of_another_kind():
    told = metadata()
    told.metadata["signature_def"].type_url = "type.googleapis.com/other"
    with serving(told=told) as server:
        assert (classify(server.url, input="image") == LABELS[:6]).all()
    told = metadata()
    told.metadata["signature_def"].value = b"\xff\xff"
    with serving(told=told) as server:
        assert isinstance(classify(server.url), AnswerError)


@pytest.mark.parametrize("dtype", [1, 7])
@pytest.mark.parametrize("sides", [(10**7, 0), (10**12, 0), (2**62, 2**62, 0), (0,)])
def test_shapes_of_nothing_are_refused_at_once(dtype, sides):
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    for side in sides:
        tensor.tensor_shape.dim.add(size=side)
    with pytest.raises(AnswerError, match="no shape that an array could have"):
        read_tensor(tensor)


@pytest.mark.parametrize("compression", [None, "Gzip", "Deflate"])
def test_an_answer_that_is_too_large_is_refused(compression):
    kind = getattr(grpc.Compression, compression or "NoCompression")
    size = (64 if compression else 17) << 20
    with serving(raw=lambda *_: bytes(size), compression=kind) as server:
        found = classify(server.url, input="image", connection={"retries": 3})
    assert isinstance(found, AnswerError)
    assert "larger than 4 MiB" in str(found)
    with serving(compression=kind) as server:
        assert (classify(server.url) == LABELS[:6]).all()


CODES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNKNOWN": 500, "INTERNAL": 500,
    "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": None, "DEADLINE_EXCEEDED": None,
}  # fmt: skip


def refusing(code, text):
    def predict(_, context):
        context.abort(getattr(grpc.StatusCode, code), text)

    return predict


def test_refusals():
    for code, status in CODES.items():
        with serving(refusing(code, "Out of\nluck: [0.1, 0.2, 0.3, 0.4] Bearer s3cr3t")) as server:
            headers = {"Authorization": "Bearer s3cr3t"}
            found = classify(server.url, {"headers": headers}, IMAGES[:1])
        assert isinstance(found, UnreachableError if status is None else RefusedError)
        assert getattr(found, "status", None) == status
        assert "127.0.0.1" in str(found)
        assert "s3cr3t" not in str(found)
        assert "0.2" not in str(found)
        assert code == "DEADLINE_EXCEEDED" or "Out of luck: ..." in str(found)


def test_smaller_batches_where_memory_is_short():
    def predict(request, context):
        if len(ids_of(request)) > 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "OOM")
        return scores(request, context)

    with serving(predict) as server:
        assert (classify(server.url) == LABELS[:6]).all()
        assert [len(ids_of(request)) for request in server.asked()] == [6, 3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_tries_again_after_a_pause(code):
    from tfmark.endpoints.grpc_client import GrpcClient

    tries, pauses = [], []

    def answer(_, context):
        tries.append(time.monotonic())
        if len(tries) < 4:
            context.abort(getattr(grpc.StatusCode, code), "Later.")
        return b"done"

    with serving(raw=answer) as server:
        client = GrpcClient(server.url.split("/")[2], False, Connection(retries=3), pauses.append)
        assert client.call(PREDICT, b"") == b"done"
        assert pauses == [0.5, 1.0, 2.0]
        tries.clear()
        with pytest.raises(EndpointError):
            client.call(PREDICT, b"", retries=0)
    assert len(tries) == 1


def test_does_not_try_again_what_cannot_help():
    with serving(refusing("INVALID_ARGUMENT", "No.")) as server:
        assert classify(server.url, {"retries": 3}).status == 400
        assert len(server.asked()) == 1


def test_keeps_a_distance():
    with serving() as server:
        times = []
        server.predict = lambda *args: times.append(time.monotonic()) or scores(*args)
        classify(server.url, {"delay": 0.2}, batch_size=2)
    assert np.diff(times).min() > 0.15


def test_a_server_that_comes_up_late():
    port = free_port()
    found = []
    url = f"grpc://127.0.0.1:{port}/digits"
    options = {"retries": 3, "timeout": 5}
    asking = threading.Thread(target=lambda: found.append(classify(url, options, input="image")))
    asking.start()
    time.sleep(0.7)
    with serving(port=port):
        asking.join()
    assert (found[0] == LABELS[:6]).all()


def test_no_server():
    started = time.monotonic()
    found = classify(f"grpc://127.0.0.1:{free_port()}/digits", {"timeout": 5})
    assert isinstance(found, UnreachableError)
    assert time.monotonic() - started < 5
    assert isinstance(classify("grpc://no-such-host.invalid:8500/m", {"timeout": 3}), EndpointError)


def test_the_deadline():
    with serving() as server:
        server.predict = lambda *_: server.ending.wait(30)
        started = time.monotonic()
        found = classify(server.url, {"timeout": 0.5}, input="image")
        assert isinstance(found, UnreachableError)
        assert "within 0.5 s" in str(found)
        assert time.monotonic() - started < 3


def test_a_server_of_another_kind():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"grpc://127.0.0.1:{silent.getsockname()[1]}/digits"
        assert isinstance(classify(url, {"timeout": 0.5}), UnreachableError)
    with http_server(lambda _: Reply("<html>")) as server:
        url = server.url.replace("http", "grpc") + "/digits"
        assert isinstance(classify(url, {"timeout": 3}), UnreachableError)


def test_headers_arrive():
    with serving() as server:
        classify(server.url, {"headers": {"X-Api-Key": "a b", "Host": "gw", "User-Agent": "me"},
                              "auth": ("Aladdin", "open sesame")})  # fmt: skip
        kinds = {kind for kind, _, _ in server.requests}
        for _, _, sent in server.requests:
            assert sent["x-api-key"] == "a b"
            assert sent["authorization"] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
            assert sent["user-agent"].startswith("me ")
            assert "host" not in sent
    assert kinds == {"Predict", "GetModelMetadata"}


@pytest.mark.parametrize(
    "headers",
    [{"X-Key": "s3cr3t\xe9"}, {"X-Key": "s3cr3t\t"}, {"X-Key-Bin": "s3cr3t"}, {"X!Key": "s3cr3t"},
     {"Grpc-Timeout": "s3cr3t"}],
)  # fmt: skip
def test_headers_that_grpc_does_not_take(headers):
    with pytest.raises(InvalidArgumentError, match="Expected headers") as caught:
        TFServingGrpc("grpc://127.0.0.1:1/m", Dialect(), Connection(headers=headers))
    assert "s3cr3t" not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files of a certificate authority, of a server, of a client, and of a stranger."""
    trustme = pytest.importorskip("trustme", reason="trustme, which makes certificates, is missing")
    folder = tmp_path_factory.mktemp("certificates")
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    for name, issued in (
        ("server", ca.issue_cert("127.0.0.1", "localhost", "gateway.test")),
        ("elsewhere", ca.issue_cert("elsewhere.test")),
        ("client", ca.issue_cert("client@test")),
    ):
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(chain)
        (folder / f"{name}.key").write_bytes(issued.private_key_pem.bytes())
        (folder / f"{name}-both.pem").write_bytes(issued.private_key_pem.bytes() + chain)
    return folder


def tls(folder, name="server", mutual=False):
    pair = [(folder / f"{name}.{end}").read_bytes() for end in ("key", "pem")]
    roots = (folder / "ca.pem").read_bytes() if mutual else None
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=mutual)


def test_tls(certificates, monkeypatch, tmp_path):
    ca = {"ca_file": certificates / "ca.pem"}
    with serving(credentials=tls(certificates)) as server:
        assert (classify(server.url, ca) == LABELS[:6]).all()
        assert (classify(server.url.replace("127.0.0.1", "localhost"), ca) == LABELS[:6]).all()
        assert (
            classify(server.url, {**ca, "headers": {"Host": "gateway.test"}}) == LABELS[:6]
        ).all()
        for connection in (
            {},
            {"ca_file": certificates / "stranger.pem"},
            {**ca, "headers": {"Host": "elsewhere.test"}},
        ):
            assert isinstance(classify(server.url, {"timeout": 3, **connection}), UnreachableError)
        plain = server.url.replace("grpcs", "grpc")
        assert isinstance(classify(plain, {"timeout": 3}), EndpointError)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        assert (classify(server.url) == LABELS[:6]).all()  # trusted by the system
    with serving(credentials=tls(certificates, "elsewhere")) as server:
        assert isinstance(classify(server.url, {**ca, "timeout": 3}), UnreachableError)
    with serving() as server:
        secure = server.url.replace("grpc", "grpcs")
        assert isinstance(classify(secure, {**ca, "timeout": 3}), UnreachableError)


def test_nothing_is_printed(certificates):
    code = """
import sys
from tfmark.endpoints import Connection, Dialect
from tfmark.endpoints.grpc_serving import TFServingGrpc
try:
    TFServingGrpc(sys.argv[1], Dialect(), Connection(ca_file=sys.argv[2], retries=0)).describe()
except Exception as error:
    print(error)
"""
    with serving(credentials=tls(certificates)) as server:
        ended = subprocess.run(
            [sys.executable, "-c", code, server.url, certificates / "stranger.pem"],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
    assert "CERTIFICATE_VERIFY_FAILED" in ended.stdout
    assert len(ended.stdout.splitlines()) == 1
    assert "ssl" not in ended.stderr.lower()


def test_mutual_tls(certificates):
    ca = {"ca_file": certificates / "ca.pem", "timeout": 5}
    key = {"cert_file": certificates / "client.pem", "key_file": certificates / "client.key"}
    with serving(credentials=tls(certificates, mutual=True)) as server:
        assert isinstance(classify(server.url, ca), UnreachableError)
        assert (classify(server.url, ca | key) == LABELS[:6]).all()
        both = {"cert_file": certificates / "client-both.pem"}
        assert (classify(server.url, ca | both) == LABELS[:6]).all()
        assert server.asked() != []


def test_certificates_that_cannot_be_used(certificates, tmp_path):
    (tmp_path / "junk.pem").write_text("junk")
    for options in (
        {"ca_file": tmp_path / "junk.pem"},
        {"ca_file": tmp_path / "none.pem"},
        {"cert_file": certificates / "client.pem"},
        {"cert_file": certificates / "client.pem", "key_file": certificates / "server.key"},
    ):
        with pytest.raises(InvalidArgumentError, match="_file"):
            TFServingGrpc("grpcs://127.0.0.1:1/m", Dialect(), Connection(**options))


@pytest.mark.parametrize(
    "address",
    ["grpc://localhost/m", "grpc://localhost:8500", "grpc://localhost:8500/", "grpc://:8500/m",
     "grpc://user:s3cr3t@localhost:8500/m", "grpc://localhost:8500/m?key=s3cr3t",
     "grpc://localhost:8500/m#s3cr3t", "grpc://localhost:8500/m/versions/1", "http://h:1/m",
     "grpc://localhost:8500/a:b", "grpc://localhost:8500/a%2Fb", "grpc://localhost:8500/a%00",
     "grpc://localhost:8500//m", "grpc://unix:/tmp/socket", "grpc://ho st:1/m", "grpc://a,b:1/m",
     "grpc://localhost:8500/m\n", "grpc://h:1:2/m", "localhost:8500/m", ""],
)  # fmt: skip
def test_addresses_that_are_none(address):
    with pytest.raises(InvalidArgumentError, match="grpc://localhost:8500/digits") as caught:
        TFServingGrpc(address, Dialect(), Connection())
    assert "s3cr3t" not in str(caught.value)


def test_addresses():
    with serving() as server:
        port = server.url.split(":")[2].split("/")[0]
        for address in (f"GRPC://localhost:{port}/digits", f"grpc://127.0.0.1:{port}/%64igits"):
            assert (classify(address) == LABELS[:6]).all()
        assert {request.model_spec.name for request in server.asked()} == {"digits"}
    # A host that has the name of another kind of address is still a host.
    assert isinstance(classify("grpc://unix:1/m", {"timeout": 3}), EndpointError)


def test_options_that_mean_nothing_here():
    with pytest.raises(InvalidArgumentError, match="gRPC.*columns"):
        TFServingGrpc("grpc://localhost:1/m", Dialect(columns=True), Connection())


@pytest.mark.parametrize("missing", ["grpc", "tensorflow_serving"])
def test_what_is_missing_is_named(missing):
    code = """
import sys

class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import json
import os
from tfmark.endpoints import Connection, Dialect
from tfmark.endpoints.grpc_serving import TFServingGrpc
try:
    TFServingGrpc("grpc://localhost:1/m", Dialect(), Connection())
except ModuleNotFoundError as error:
    print(json.dumps(str(error)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, missing], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert f" needs {missing}: pip install 'tfmark[grpc]'" in json.loads(ended.stdout)
