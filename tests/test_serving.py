"""Serving exported models: the embedded server with real SavedModels, and a stand-in for the real
`tensorflow_model_server`. What the embedded server answers: see test_rest_conformance.py too."""

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
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tfmark
from tests.http_server import free_port
from tfmark.errors import InvalidArgumentError, ServingError
from tfmark.serving.json_reader import _Reader, read_json
from tfmark.serving.json_writer import write_columns, write_rows
from tfmark.serving.rest_errors import RestError

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


def classes(url):
    """The classes that a model of `exported` gives `ROWS`."""
    rows = call(url + ":predict", {"instances": ROWS.tolist()})[1]["predictions"]
    return [int(np.argmax(row["scores"] if isinstance(row, dict) else row)) for row in rows]


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
            assert classes(url) == [3, 7]  # of "plain": the latest version


def test_gzip_and_status(server):
    url = server.url("plain")
    body = gzip.compress(json.dumps({"instances": ROWS.tolist()}).encode())
    status, answer = call(url + ":predict", body, {"Content-Encoding": "gzip"})
    assert status == 200
    assert np.argmax(answer["predictions"], axis=1).tolist() == [3, 7]
    (state,) = call(url)[1]["model_version_status"]
    assert (state["version"], state["state"]) == ("12", "AVAILABLE")
    assert classes(url + "/versions/12") == [3, 7]


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("plain/versions/1:predict", {"instances": [1]}, 404, "Specific(plain, 1)"),
        ("plain:predict?key=1", {"instances": [1]}, 400, "Malformed"),
        ("", None, 400, "Malformed"),
        ("plain:predict", {"instances": []}, 400, "No values"),
        ("plain:predict", {"instances": np.zeros((1, 9, 9, 1)).tolist()}, 400, "81"),
        ("plain:predict", {"instances": [[[1, 2]], [[1], [2]]]}, 400, "shape [1,2] but got: [2,1]"),
        ("plain:classify", {"signature_name": "no", "examples": [{}]}, 400, "name: no"),
        ("plain:classify", {"examples": [{"x": None}]}, 400, "JSON type: Null"),
        ("plain:regress", {"examples": [1]}, 400, "JSON Number"),
        ("plain:predict", b"5", 400, "object"),
        ("plain:predict", b"[" * 100_000, 400, "nested"),
        ("plain:predict", b'{"instances": ' + b"[" * 500 + b"]" * 500 + b"}", 400, "rank"),
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON, st.booleans(), st.sampled_from([None, 1, ": ", "\t"]), st.data())
def test_the_fast_and_the_exact_reader_agree(value, ascii_only, indent, data):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    if data.draw(st.booleans()):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    def read(reader):
        try:
            return repr(reader())
        except RestError as error:
            return str(error)

    exact = read(_Reader(body.decode("latin-1")).read)
    assert read(lambda: read_json(bytes(body))) == exact


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b" ", "The document is empty. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b"}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b"[1.]", "Missing fraction part in number. at offset: 3"),
        (b"[1e]", "Missing exponent in number. at offset: 3"),
        (b"[" + b"9" * 5000 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b'["\xc3\xa9', "Missing a closing quotation mark in string. at offset: 4"),
        (b'["\\x"]', "Invalid escape character in string. at offset: 2"),
        (b'["\\u12"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
    ],
)
def test_words_for_json_that_is_none(body, problem):
    with pytest.raises(RestError) as caught:
        read_json(body)
    assert str(caught.value) == f"JSON Parse error: {problem}"


SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


@settings(deadline=None)
@example(np.array([0, 2**64 - 1024], np.uint64))  # as integers: both are no float64, nor int64
@given(st.sampled_from(["f4", "f8", "i8", "u8", "?"]).flatmap(lambda kind: arrays(kind, SHAPES)))
def test_written_numbers_are_read_as_the_same(tensor):
    columns = json.loads(write_columns({"y": tensor}))["outputs"]
    written, expected = (np.array(v, tensor.dtype) for v in (columns, tensor.tolist()))
    assert np.array_equal(written, expected, equal_nan=tensor.dtype.kind == "f")
    if tensor.ndim:
        assert repr(json.loads(write_rows({"y": tensor}))["predictions"]) == repr(columns)


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
