"""The embedded server against what a real TensorFlow Serving answered.

`data/tf_serving_exchanges.jsonl.gz` holds all exchanges that were recorded, one a line.
"""

import base64
import gzip
import json
import math
import re
import socket
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests import serving_models

DATA = Path(__file__).with_name("data").joinpath("tf_serving_exchanges.jsonl.gz")
RECORDED = {e["case"]: e for e in map(json.loads, gzip.decompress(DATA.read_bytes()).splitlines())}

OUT_OF_SCOPE = {
    case: reason
    for reason, cases in {
        "batches of several requests (--enable_batching)": [
            "batching_over_max_batch_size",
            "batching_queue_full",
            "batching_ragged_model_output",
            "batching_scalar_input",
            "batching_split_over_max",
            "batching_timeout_exceeded",
            "batching_two_inputs_batch_mismatch",
        ],
        "a time limit (--rest_api_timeout_in_ms)": ["timeout_then_ok"],
        "CORS headers (--rest_api_enable_cors_support)": ["cors_options", "cors_predict"],
        "monitoring (--monitoring_config_file)": ["prometheus_query_string"],
        "versions that come and go while the server runs": [
            "hot_after_predict_latest",
            "hot_after_status",
            "hot_all_versions_deleted_metadata",
            "hot_all_versions_deleted_predict",
            "hot_before",
            "hot_failed_load_predict_latest",
            "hot_failed_load_predict_version_3",
            "hot_failed_load_status",
            "hot_failed_load_status_version_3",
            "hot_predict_latest_while_2_loads",
            "hot_rollback_predict",
            "hot_rollback_status",
            "hot_status_v1_available",
            "hot_status_version_2_while_loading",
        ],
        "labels, which a configuration file gives": ["label_stable"],
        "the real server dies of it; the embedded one answers 400 (below)": [
            "crash_cnn28_empty_inputs",
            "crash_cnn28_flat_784",
        ],
        "400 or 501 and the words depend on the processor (oneDNN or not)": [
            "cnn28_channels_first_refused"
        ],
    }.items()
    for case in cases
}

OTHER_WORDS = {  # same status, another text of the error, beside those recorded as unstable
    "cnn28_flat_784_without_onednn": "refused before a kernel sees it, so that none can crash",
    "predict_empty_inputs_list": "refused before a kernel sees it, so that none can crash",
    "predict_wrong_rank_low": "refused before a kernel sees it, so that none can crash",
    "predict_wrong_rank_high": "the kernel's words depend on the processor (oneDNN or not)",
    "out_of_memory_429": "names the allocator, which depends on the processor (oneDNN or not)",
}

IN_SCOPE = [case for case in RECORDED if case not in OUT_OF_SCOPE]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The recorded configuration: all models, and those that it serves under other names."""
    from tfmark.serving import embedded

    folder = tmp_path_factory.mktemp("models")
    serving_models.build(folder)
    exports = {path.name: {1: path / "1"} for path in folder.iterdir()}
    versions = {version: folder / "versions" / str(version) for version in (1, 2, 3)}
    exports["all_versions"] = versions
    exports["versions"] = {1: versions[1], 3: versions[3]}
    exports["latest"] = {3: versions[3]}
    exports["odd name+é"] = exports["default"] = exports["dense"]
    with embedded.run(exports, 0, "127.0.0.1") as port:
        yield port


def ask(port, request):
    """Send a request as it was recorded, byte by byte."""
    body = decode(request)
    lines = [f"{request['method']} {request['path']} {request.get('http_version', 'HTTP/1.1')}"]
    lines += [f"{name}: {value}" for name, value in request["headers"].items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(head + body)
        with HTTPResponse(connection, method=request["method"]) as response:
            response.begin()
            return response.status, response.headers, response.read()


def decode(message):
    text = message["body"]
    return base64.b64decode(text) if message["body_encoding"] == "base64" else text.encode()


def parse(body):
    """JSON, without what differs from build to build: the names of nodes in a graph."""
    text = re.sub(r"\[\[\{\{.*?\}\}\]\]", "[[node]]", body.decode("utf-8", "surrogateescape"))
    return json.loads(text)


def same(ours, theirs):
    """Equal JSON: numbers to the rounding of float32, keys in any order."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(v, theirs[k]) for k, v in ours.items())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and math.isfinite(theirs):
        return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-7)
    return repr(ours) == repr(theirs)  # NaN is not equal to itself


@pytest.mark.parametrize("case", IN_SCOPE)
def test_answers_as_the_real_server(port, case):
    recorded = RECORDED[case]["response"]
    status, headers, body = ask(port, RECORDED[case]["request"])
    assert (status, headers["Content-Type"]) == (
        recorded["status"],
        recorded["headers"]["Content-Type"],
    ), body
    if headers["Content-Type"] != "application/json" or not recorded["body"]:
        assert body == decode(recorded)
        return
    ours, theirs = parse(body), parse(decode(recorded))
    if case in OTHER_WORDS or "text of the error" in RECORDED[case].get("unstable", ()):
        assert ours.keys() == theirs.keys() == {"error"}
    else:
        assert same(ours, theirs), f"{ours}\n{theirs}"


@pytest.mark.parametrize("case", [case for case in RECORDED if case.startswith("crash")])
def test_lives_where_the_real_server_dies(port, case):
    status, _, body = ask(port, RECORDED[case]["request"])
    assert status == 400
    assert "4-dimensional" in json.loads(body)["error"]
    test_answers_as_the_real_server(port, "cnn28_row")


def test_each_exception_is_a_recorded_case():
    assert len(RECORDED) == 249
    assert OUT_OF_SCOPE.keys() | OTHER_WORDS.keys() <= RECORDED.keys()
    assert not OUT_OF_SCOPE.keys() & OTHER_WORDS.keys()
    assert len(IN_SCOPE) + len(OUT_OF_SCOPE) == len(RECORDED)
