"""`HttpClient` against a real server on loopback that behaves badly."""

import gzip
import json
import logging
import ssl
import time
from pathlib import Path

import pytest

from tests.http_server import RESET, Reply, free_port, http_server
from tfmark.endpoints.addresses import check_url, show
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.http import HttpClient
from tfmark.errors import AnswerError, InvalidArgumentError, RefusedError, UnreachableError

TOKEN = "Bearer s3cr3t-t0ken"
OK = Reply('{"predictions": [1]}')
HEAD = b"HTTP/1.1 200 OK\r\n"


def client(**options):
    transport, sleep = options.pop("transport", None), options.pop("sleep", lambda _: None)
    return HttpClient(Connection(**{"timeout": 0.5, "retries": 0} | options), transport, sleep)


def post(answer, **options):
    with http_server(answer) as server:
        return client(**options).post(server.url + "/v1/models/m:predict?key=k3y", b'{"a": 1}')


def drip(text):
    for i in range(len(text)):
        time.sleep(0.2)
        yield text[i : i + 1]


def chunked(body):
    return b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in body) + b"0\r\n\r\n"


def zipped_in_pieces():
    yield HEAD + b"Content-Encoding: gzip\r\n\r\n"
    for byte in gzip.compress(OK.body.encode()):
        yield bytes([byte])
        time.sleep(0.002)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        Reply(gzip.compress(OK.body.encode()), headers={"Content-Encoding": "gzip"}),
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(OK.body.encode())],
        [HEAD + b"\r\n" + OK.body.encode()],
        zipped_in_pieces(),
    ],
    ids=["plain", "gzip", "chunked", "without length", "gzip in pieces"],
)
def test_reads_an_answer_in_each_form(answer):
    assert post(lambda _: answer, timeout=5) == OK.body.encode()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (None, UnreachableError, "did not answer within 0.5 s"),
        (drip(HEAD + b"\r\n"), UnreachableError, "within 0.5 s"),
        (drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 9), UnreachableError, "within 0.5 s"),
        ([HEAD + b"Content-Length: 9\r\n\r\n[1", RESET], UnreachableError, "broke"),
        ([HEAD + b"Content-Length: 9\r\n\r\n[1"], UnreachableError, "broke"),
        ([HEAD + b"Content-Length: 1, 2\r\n\r\n[]"], UnreachableError, "broke"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]"], UnreachableError, "broke"),
        ([HEAD + b"A: b\r\n" * 1000 + b"\r\n"], UnreachableError, "broke"),
        ([HEAD + b"A: " + b"b" * 100_000 + b"\r\n\r\n"], UnreachableError, "broke"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], UnreachableError, "broke"),
        (Reply("[1]", headers={"Content-Encoding": "gzip"}), AnswerError, "compressed"),
        (
            Reply(gzip.compress(bytes(1 << 26)), headers={"Content-Encoding": "gzip"}),
            AnswerError,
            "larger than 4 MiB",
        ),
    ],
)
def test_a_bad_answer_is_one_clear_error_in_bounded_time(answer, error, text):
    start = time.monotonic()
    with pytest.raises(error, match=text):
        post(lambda _: answer)
    assert time.monotonic() - start < 20


def test_a_body_that_drips_ends_in_time():
    def answer():
        yield HEAD + b"Content-Length: 1000\r\n\r\n"
        yield from drip(b"[" * 1000)

    start = time.monotonic()
    with pytest.raises(UnreachableError, match=r"within 0\.5 s"):
        post(lambda _: answer())
    assert time.monotonic() - start < 20


def test_an_endless_body_is_refused_without_reading_it_all():
    sent = []

    def answer():
        yield HEAD + b"\r\n"
        for _ in range(1024):
            sent.append(1 << 20)
            yield bytes(1 << 20)

    with pytest.raises(AnswerError, match="larger than 4 MiB"):
        post(lambda _: answer(), timeout=20, retries=3)
    assert sum(sent) < 64 << 20


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 500])
def test_a_refusal_is_not_retried_and_says_what_the_server_said(status):
    page = "<!doctype html><html><head></head><body><h1>Ask\nthe admin</h1></body></html>"
    for body in ("" if status == 204 else page, json.dumps({"error": "Ask the admin"})):
        with http_server(lambda _, body=body: Reply(body, status)) as server:
            with pytest.raises(RefusedError) as caught:
                client(retries=3).post(server.url, b"{}")
            assert len(server.requests) == 1
        assert caught.value.status == status
        assert str(status) in str(caught.value)
        assert status == 204 or "Ask the admin" in str(caught.value)
        assert "<" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retries_when_that_can_help(status):
    answers = [Reply("busy", status, {"Retry-After": "7"}), Reply("busy", status), OK]
    pauses = []
    assert post(lambda _: answers.pop(0), retries=3, sleep=pauses.append) == OK.body.encode()
    assert pauses[0] == 7
    assert 0.1 < pauses[1] < 5


@pytest.mark.parametrize(
    ("retry_after", "lowest", "highest"),
    [
        ("100000", 1, 30),
        ("9" * 5000, 1, 30),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1, 30),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0, 0),
        ("soon", 0.1, 5),
        ("-1", 0.1, 5),
        ("²", 0.1, 5),
        ("Mon, 01 Jan 2024 00:00:00 +9999999999999999", 0, 30),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0, 30),
    ],
)
def test_the_server_chooses_the_pause_within_bounds(retry_after, lowest, highest):
    answers = [Reply("busy", 503, {"Retry-After": retry_after}), OK]
    pauses = []
    assert post(lambda _: answers.pop(0), retries=3, sleep=pauses.append) == OK.body.encode()
    assert len(pauses) == 1
    assert lowest <= pauses[0] <= highest


def test_gives_up_after_its_retries():
    pauses = []
    with pytest.raises(RefusedError, match="503"):
        post(lambda _: Reply("", 503), retries=2, sleep=pauses.append)
    assert len(pauses) == 2
    assert pauses == sorted(pauses)
    with pytest.raises(UnreachableError, match="does not accept connections"):
        client(retries=2).get(f"http://127.0.0.1:{free_port()}/", retries=2)


def test_tries_again_after_a_broken_connection():
    answers = [[HEAD, RESET], OK]
    assert post(lambda _: answers.pop(0), retries=1) == OK.body.encode()


def test_keeps_one_connection():
    with http_server(lambda _: OK) as server:
        one = client()
        for _ in range(3):
            one.post(server.url, b"{}")
        assert len({request.client for request in server.requests}) == 1


def test_sends_its_headers_but_not_to_where_a_redirect_points():
    with http_server(lambda _: OK) as other:
        headers = {"Location": f"http://localhost:{other.server_port}/"}
        with http_server(lambda _: Reply("", 307, headers)) as server:
            with pytest.raises(RefusedError, match="redirects") as caught:
                client(headers={"Authorization": TOKEN, "X-Team": "7"}).post(server.url, b"{}")
            (request,) = server.requests
        assert other.requests == []
    assert caught.value.status == 307
    assert request.headers["Authorization"] == TOKEN
    assert request.headers["X-Team"] == "7"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("echo", "secret"),
    [
        (lambda request: request.headers["Authorization"], "s3cr3t"),
        (lambda request: {"error": f"401 for {request.headers['Authorization']}."}, "s3cr3t"),
        (lambda request: repr(dict(request.headers)), "s3cr3t"),
        (lambda request: request.headers["X-Api-Key"], "abcd" * 20),
        (lambda request: {"error": f"JSON Value: {request.body.decode()} is bad"}, "0.0078"),
        (lambda request: "<html>" + request.body.decode() + "</html>", "0.0078"),
        (lambda request: {"error": f"Malformed request: POST {request.path}"}, "k3y"),
    ],
)
def test_what_a_server_echoes_does_not_reach_the_error(echo, secret):
    def answer(request):
        text = echo(request)
        return Reply(text if isinstance(text, str) else json.dumps(text), 400)

    body = json.dumps({"instances": [[i / 128 for i in range(64)]]}).encode()
    headers = {"Authorization": TOKEN, "X-Api-Key": "abcd" * 20}
    with http_server(answer) as server, pytest.raises(RefusedError) as caught:
        client(headers=headers).post(server.url + "/m:predict?key=k3y", body)
    assert secret in str(echo(server.requests[0]))
    assert secret not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_malformed_headers_of_an_answer_bring_no_secrets_into_the_log(caplog):
    with caplog.at_level(logging.INFO):
        assert post(lambda _: [HEAD + b"X: 1\r\nno colon here\r\n\r\n[1]"])
    assert "k3y" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "s3cr3t\nX: y"},
        {"Authorization": "s3cr3t ☃"},
        {"Authorization": None},
        {"Authorization\n": "s3cr3t"},
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(headers):
    with pytest.raises(InvalidArgumentError) as caught:
        post(lambda _: OK, headers=headers)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12, "5"])
def test_timeouts_that_cannot_work_are_refused(timeout):
    with pytest.raises(InvalidArgumentError, match="timeout"):
        post(lambda _: OK, timeout=timeout)


def test_an_untrusted_certificate_is_refused(tmp_path):
    data = json.loads(Path(__file__).with_name("data").joinpath("self_signed.json").read_text())
    pem = tmp_path / "both.pem"
    pem.write_text(data["key"] + data["certificate"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with http_server(lambda _: OK, context) as server:
        with pytest.raises(UnreachableError, match="certificate"):
            client(headers={"Authorization": TOKEN}).post(server.url, b"{}")
        assert server.requests == []


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8501/v1/models/m", "ftp://host/v1/models/m", "http:///v1", "http://h:99999/m",
     "http://h:port/m"],
)  # fmt: skip
def test_bad_addresses_are_refused(url):
    with pytest.raises(InvalidArgumentError, match="http://localhost:8501/v1/models/digits"):
        check_url(url)


@pytest.mark.parametrize("password", ["s3cr3t", "pa/s3cr3t", "pa?s3cr3t", "pa#s3cr3t"])
@pytest.mark.parametrize("form", ["http://me:{}@host/v1/models/m", "me:{}@host/v1/models/m"])
def test_a_password_in_an_address_is_refused_and_not_shown(form, password):
    with pytest.raises(InvalidArgumentError) as caught:
        check_url(form.format(password))
    assert "s3cr3t" not in str(caught.value)


def test_an_address_is_shown_without_secrets():
    assert show("https://me:pw@h:1/a/b?key=k3y") == "https://h:1/a/b"
