"""Serving exported models: the embedded server with real SavedModels, and a stand-in for the real
`tensorflow_model_server`."""

import gc
import gzip
import json
import os
import shutil
import socket
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import urllib3

import tfmark
from tests.http_server import free_port
from tfmark.endpoints import TFServing
from tfmark.errors import InvalidArgumentError, ServingError

KERNEL = np.eye(64, 10, dtype=np.float32)  # the class is the brightest of the first ten pixels
ROWS = (np.eye(10, 64)[[3, 7]]).reshape(2, 8, 8, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of models: "plain" in the versions 1 and 12, "pair" with two outputs."""
    import keras

    folder = tmp_path_factory.mktemp("models")
    image = keras.Input((8, 8, 1), name="image")
    flat = keras.layers.Flatten()(image)
    dense = keras.layers.Dense(10, use_bias=False)
    plain = keras.Model(image, dense(flat))
    dense.set_weights([-KERNEL])
    plain.export(folder / "plain" / "1", verbose=False)
    dense.set_weights([KERNEL])
    plain.export(folder / "plain" / "12", verbose=False)
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    pair = keras.Model(image, {"scores": plain(image), "mean": mean})
    pair.export(folder / "pair" / "1", verbose=False)
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(exported):
    with tfmark.serve(exported, server="embedded") as running:
        yield running


def call(url, body=None, headers=None, method=None):
    body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    response = urllib3.request(
        method or ("GET" if body is None else "POST"), url, body=body, retries=False, timeout=20,
        headers=headers or {},
    )  # fmt: skip
    return response.status, json.loads(response.data)


def classes(url, **options):
    images = (ROWS * 255).astype(np.uint8)
    return TFServing(url, (8, 8, 1), (0, 1), 10, retries=0, **options).classify(images).tolist()


@pytest.mark.parametrize(
    ("inside", "urls"),
    [
        (".", {"pair": "pair", "plain": "plain"}),
        ("plain", {"plain": "plain"}),
        ("plain/12", {"12": "12"}),
    ],
)
def test_serves_a_model_its_versions_or_a_folder_of_models(exported, inside, urls):
    with tfmark.serve(exported / inside, server="embedded") as running:
        base = f"http://127.0.0.1:{running.port}/v1/models/"
        assert running.urls == {name: base + name for name in urls}
        assert running.kind == "embedded"
        for name, url in running.urls.items():
            assert running.url(name) == url
            options = {"output": "scores"} if name == "pair" else {}
            assert classes(url, **options) == [3, 7]  # of "plain": the latest version


@pytest.mark.parametrize(
    ("request_body", "answer"),
    [
        ({"instances": ROWS.tolist()}, "predictions"),
        ({"instances": [{"image": row} for row in ROWS.tolist()]}, "predictions"),
        ({"inputs": ROWS.tolist()}, "outputs"),
        ({"inputs": {"image": ROWS.tolist()}}, "outputs"),
        ({"signature_name": "serving_default", "instances": ROWS.astype(int).tolist()},
         "predictions"),
    ],
)  # fmt: skip
def test_row_and_columnar_requests(server, request_body, answer):
    expected = (ROWS.reshape(2, 64) @ KERNEL).tolist()
    assert call(server.url("plain") + ":predict", request_body) == (200, {answer: expected})
    status, both = call(server.url("pair") + ":predict", request_body)
    columns = {"scores": expected, "mean": [[1 / 64]] * 2}
    rows = [{"scores": scores, "mean": [1 / 64]} for scores in expected]
    assert (status, both) == (200, {answer: rows if answer == "predictions" else columns})


def test_gzip_status_version_and_metadata(server):
    url = server.url("plain")
    body = gzip.compress(json.dumps({"instances": ROWS.tolist()}).encode())
    status, answer = call(url + ":predict", body, {"Content-Encoding": "gzip"})
    assert status == 200
    assert np.argmax(answer["predictions"], axis=1).tolist() == [3, 7]
    (state,) = call(url)[1]["model_version_status"]
    assert (state["version"], state["state"]) == ("12", "AVAILABLE")
    assert call(url + "/versions/12")[0] == 200
    assert classes(url, version=12) == [3, 7]
    described = call(url + "/metadata")[1]
    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert described["model_spec"]["name"] == "plain"
    assert signature["inputs"]["image"]["dtype"] == "DT_FLOAT"
    sizes = [dim["size"] for dim in signature["inputs"]["image"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "8", "8", "1"]


@pytest.mark.parametrize(
    ("shape", "signature", "text"),
    [((8, 8, 3), None, r"\(8, 8, 1\)"), ((8, 8, 1), "nope", "'nope'.*serving_default")],
)
def test_the_client_reads_the_metadata(server, shape, signature, text):
    suspect = TFServing(server.url("plain"), shape, (0, 1), 10, signature=signature)
    with pytest.raises(tfmark.TfmarkError, match=text):
        suspect.classify(np.zeros((1, *shape), np.uint8))


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("none", None, 404, "none"),
        ("none/metadata", None, 404, "none"),
        ("none:predict", {"instances": [1]}, 404, "Servable not found"),
        ("plain/versions/1:predict", {"instances": [1]}, 404, "Specific"),
        ("plain/versions/x:predict", {"instances": [1]}, 400, "Malformed"),
        ("plain:predict?key=1", {"instances": [1]}, 400, "Malformed"),
        ("plain:explain", {"instances": [1]}, 400, "Malformed"),
        ("", None, 400, "Missing model name"),
        ("plain:predict", {"signature_name": "no", "instances": [1]}, 400, '"no" not found'),
        ("plain:predict", {"signature_name": 5, "instances": [1]}, 400, "string"),
        ("plain:predict", {}, 400, "Missing 'inputs' or 'instances'"),
        ("plain:predict", {"instances": 1, "inputs": 1}, 400, "Not formatted"),
        ("plain:predict", {"instances": []}, 400, "empty"),
        ("plain:predict", {"instances": 5}, 400, "list"),
        ("plain:predict", {"instances": [[1, 2], [3]]}, 400, "size"),
        ("plain:predict", {"instances": [["a"]]}, 400, "type"),
        ("plain:predict", {"instances": [[None]]}, 400, "type"),
        ("plain:predict", {"instances": [[2**70]]}, 400, ""),
        ("plain:predict", {"instances": [{"other": 1}]}, 400, "image"),
        ("plain:predict", {"instances": [{"image": 1}, 5]}, 400, "item 1"),
        ("plain:predict", {"instances": [1, 2]}, 400, ""),
        ("plain:predict", {"instances": np.zeros((1, 9, 9, 1)).tolist()}, 400, ""),
        ("plain:predict", {"inputs": {"other": 1}}, 400, "image"),
        ("plain:predict", b"hello", 400, "Parse"),
        ("plain:predict", b"", 400, "empty"),
        ("plain:predict", b"5", 400, "object"),
        ("plain:predict", b"[" * 100_000, 400, "Parse"),
        ("plain:predict", b'{"instances": ' + b"[" * 500 + b"]" * 500 + b"}", 400, ""),
    ],
)  # fmt: skip
def test_a_request_that_cannot_work_is_told_so(server, path, body, status, text):
    received, answer = call(server.url(path), body)
    assert received == status
    assert text in answer["error"]


WHOLE = gzip.compress(json.dumps({"instances": ROWS.tolist()}).encode())


@pytest.mark.parametrize(
    "body",
    [WHOLE[:30], WHOLE[:-1], WHOLE[5:], WHOLE[:10] + b"\xff" * 20, b"", b"{}"],
    ids=["cut", "one byte short", "no head", "garbage behind the head", "empty", "not gzip"],
)
def test_broken_gzip_is_told_so(server, body):
    status, answer = call(server.url("plain") + ":predict", body, {"Content-Encoding": "gzip"})
    assert (status, "error" in answer) == (400, True)


def new_threads(before):
    """Threads that are still there some time after."""
    deadline = time.monotonic() + 5
    while (new := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return new


def refuses(host, port):
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_is_there_for_this_machine_alone_and_ends_with_the_block(exported):
    before = set(threading.enumerate())
    with tfmark.serve(exported / "plain", server="embedded") as running:
        assert running.host == "127.0.0.1"
        assert not refuses("127.0.0.1", running.port)
        assert refuses("127.0.0.2", running.port)  # not bound to all addresses
    assert refuses("127.0.0.1", running.port)
    assert not new_threads(before)


def test_a_busy_port_is_an_error_and_leaves_nothing_behind(server, exported):
    before = set(threading.enumerate())
    with (
        pytest.raises(ServingError, match=f"127.0.0.1:{server.port}"),
        tfmark.serve(exported / "plain", server.port, server="embedded"),
    ):
        pass
    assert classes(server.url("plain")) == [3, 7]  # the first one is not harmed
    gc.collect()  # a socket that was not closed would warn here
    assert not new_threads(before)


def test_an_error_in_the_block_ends_the_server_too(exported):
    with pytest.raises(ZeroDivisionError), tfmark.serve(exported, server="embedded") as running:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), 5)


def test_listens_on_a_name_of_two_addresses(exported, monkeypatch):
    lookup = socket.getaddrinfo

    def both(host, *rest, **options):  # as localhost is 127.0.0.1 and ::1 on many machines
        hosts = ("127.0.0.1", "127.0.0.2") if host == "localhost" else (host,)
        return [found for h in hosts for found in lookup(h, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with tfmark.serve(exported / "plain", host="localhost", server="embedded") as running:
        assert classes(running.url("plain")) == [3, 7]


def test_folders_and_servers_that_cannot_work_are_refused(tmp_path, exported):
    (tmp_path / "m" / "1").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "m", tmp_path / "missing"):
        with pytest.raises(InvalidArgumentError, match=r"model\.export"), tfmark.serve(folder):
            pass
    with pytest.raises(InvalidArgumentError, match="server"), tfmark.serve(exported, server="x"):
        pass
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"hello")
    with (
        pytest.raises(ServingError, match="m/1"),
        tfmark.serve(tmp_path / "m", server="embedded"),
    ):
        pass


def install(folder, monkeypatch, program):
    """Put a `tensorflow_model_server` on PATH."""
    binary = folder / "tensorflow_model_server"
    binary.write_text(f"#!{sys.executable} -IS\n{textwrap.dedent(program)}")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


STAND_IN = """
    import http.server, json, os, pathlib, re, sys, time
    flags = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:])
    config = pathlib.Path(flags["model_config_file"]).read_text()
    bases = dict(re.findall(r'name: "(.*?)" base_path: "(.*?)"', config))
    started = time.monotonic()
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            loaded = name in bases and time.monotonic() - started > 0.5
            versions = os.listdir(bases[name]) if loaded else ["0"]
            assert not loaded or all(
                os.path.exists(f"{bases[name]}/{v}/saved_model.pb") for v in versions)
            state = "AVAILABLE" if loaded else "LOADING"
            status = [{"version": v, "state": state} for v in versions]
            body = json.dumps({"model_version_status": status}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    port = int(flags["rest_api_port"])
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("chosen", ["auto", "tensorflow_model_server"])
def test_the_real_server_is_started_waited_for_and_ended(exported, tmp_path, monkeypatch, chosen):
    install(tmp_path, monkeypatch, STAND_IN)
    with tfmark.serve(exported, server=chosen) as running:
        assert running.kind == "tensorflow_model_server"
        for name, versions in (("plain", {"1", "12"}), ("pair", {"1"})):
            states = call(running.url(name))[1]["model_version_status"]
            assert {state["version"] for state in states} == versions
            assert {state["state"] for state in states} == {"AVAILABLE"}
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
    assert not alive(pid)


def test_a_real_server_that_ends_at_once_is_an_error_with_its_last_words(
    exported, tmp_path, monkeypatch
):
    install(
        tmp_path, monkeypatch, "print('starting'); print('no such flag: x'); raise SystemExit(3)"
    )
    with (
        pytest.raises(ServingError, match=r"no such flag: x$"),
        tfmark.serve(exported, free_port(), server="auto"),
    ):
        pass
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert shutil.which("tensorflow_model_server") is None
    with (
        pytest.raises(ServingError, match="PATH"),
        tfmark.serve(exported, server="tensorflow_model_server"),
    ):
        pass
