"""Asking an authority over HTTP, and the commands `tfmark commit` and `tfmark timestamp`."""

import ssl

import pytest
import trustme
from click.testing import CliRunner

import tfmark
from tests.http_server import Reply, http_server
from tests.time_stamp_authority import (
    make_authority,
    needs_openssl,
    openssl,
    serving_time_stamps,
)
from tfmark.cli import main
from tfmark.endpoints.connection import Connection
from tfmark.errors import (
    AnswerError,
    InvalidArgumentError,
    RefusedError,
    TimeStampError,
    UnreachableError,
)
from tfmark.keyfile import read_public
from tfmark.time_stamping import ask_for_time_stamp
from tfmark.time_stamps import check_time_stamp, time_stamp_request

pytestmark = needs_openssl
DOCUMENT = b"a commitment"
TOKEN = "Bearer s3cr3t-t0ken"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("time") / "stamps")


@pytest.fixture
def key_file(tmp_path):
    key = tfmark.WatermarkKey.generate(
        scheme="unrelated", image_shape=(8, 8, 1), num_classes=10, num_marks=9, value_range=(0, 1),
        owner="ACME Ltd",
    )  # fmt: skip
    key.save(tmp_path / "owner.tfmark", passphrase="correct horse")
    return tmp_path / "owner.tfmark"


def run(*arguments, cwd=None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ask(server, authority, **options):
    way = Connection(**{"timeout": 5, "retries": 0} | options)
    return ask_for_time_stamp(server.url + "/tsr?key=k3y", DOCUMENT, [authority.root], way)


def test_an_authority_learns_a_hash_and_gives_a_stamp(authority):
    with serving_time_stamps(authority) as server:
        response, stamp = ask(server, authority, headers={"Authorization": TOKEN})
        (request,) = server.requests
    assert check_time_stamp(response, DOCUMENT, [authority.root]) == stamp
    assert DOCUMENT not in request.body
    assert (request.method, request.path) == ("POST", "/tsr?key=k3y")
    assert request.headers["Authorization"] == TOKEN


@pytest.mark.parametrize(("status", "kind"), [(200, "text/plain"), (201, "application/json")])
def test_a_right_stamp_counts_whatever_it_is_called(authority, status, kind):
    def answer(request):
        return Reply(authority.reply(request), status, {"Content-Type": kind})

    with serving_time_stamps(authority, answer) as server:
        ask(server, authority)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Reply("<html>Welcome</html>"), TimeStampError, "did not give a time stamp.*Is it the add"),
        (Reply(""), TimeStampError, "did not give a time stamp"),
        (Reply(bytes(1 << 17)), TimeStampError, "at most 65536 bytes"),
        (Reply(bytes(5 << 20)), AnswerError, "larger than 4 MiB"),
        (Reply("<h1>Not Found</h1>", 404), RefusedError, "status 404: Not Found"),
        (Reply("", 302, {"Location": "/tsa"}), RefusedError, "redirects"),
        (None, UnreachableError, "did not answer within 0.5 s"),
    ],
    ids=["HTML", "nothing", "too large", "much too large", "404", "redirect", "silence"],
)
def test_what_is_no_authority_is_told(authority, answer, error, text):
    with http_server(lambda _: answer) as server, pytest.raises(error, match=text) as caught:
        ask(server, authority, timeout=0.5, headers={"Authorization": TOKEN})
    assert "k3y" not in str(caught.value)
    assert server.url + "/tsr" in str(caught.value) or error is AnswerError


def test_a_refusal_does_not_repeat_credentials(authority):
    words = f"no luck with {TOKEN}"
    # TimeStampResp of a rejection with these words
    status = b"\x02\x01\x02" + _tlv(0x30, _tlv(0x0C, words.encode()))
    refusal = _tlv(0x30, _tlv(0x30, status))
    told = pytest.raises(TimeStampError, match="refused to stamp .rejection, no luck")
    with http_server(lambda _: Reply(refusal)) as server, told as caught:
        ask(server, authority, headers={"Authorization": TOKEN})
    assert "s3cr3t" not in str(caught.value)


def _tlv(tag, content):
    return bytes([tag, len(content)]) + content


def test_an_old_answer_to_another_request_is_refused(authority):
    old = authority.reply(time_stamp_request(DOCUMENT)[0])
    told = pytest.raises(TimeStampError, match="Nonce mismatch")
    with serving_time_stamps(authority, lambda _: old) as server, told:
        ask(server, authority)


def test_a_busy_authority_is_asked_again(authority):
    answers = [Reply("busy", 503, {"Retry-After": "0"}), None]

    def answer(request):
        return answers.pop(0) or authority.reply(request)

    with serving_time_stamps(authority, answer) as server:
        ask(server, authority, retries=1)
        assert len(server.requests) == 2


def test_no_address_is_told_before_anything_is_asked(authority):
    for url in ("freetsa.org/tsr", "ftp://example.org", "https://user:pass@example.org/"):
        with pytest.raises(InvalidArgumentError, match="Expected an address"):
            ask_for_time_stamp(url, DOCUMENT, [authority.root])


def test_commit_writes_what_is_public(key_file, tmp_path):
    out = tmp_path / "commitment.json"
    done = run("commit", key_file, "--out", out)
    assert done.exit_code == 0, done.output
    public = read_public(key_file).commitment
    assert out.read_bytes() == public.document
    assert public.commitment in done.stdout
    assert run("commit", key_file, "--out", out).exit_code == 0  # the same again
    out.write_text("precious")
    again = run("commit", key_file, "--out", out)
    assert (again.exit_code, out.read_text()) == (2, "precious")
    assert "--overwrite" in again.stderr
    assert run("commit", key_file, "--out", out, "--overwrite").exit_code == 0
    assert out.read_bytes() == public.document


def test_timestamp_keeps_stamps_that_openssl_verifies(authority, key_file, tmp_path):
    second = make_authority(tmp_path / "second", "Second Opinion", rsa_key=True)
    run("commit", key_file, "--out", tmp_path / "commitment.json")
    for number, tsa in enumerate((authority, second), 1):
        out = tmp_path / f"{number}.tsr"
        with serving_time_stamps(tsa) as server:
            way = "--tsa", server.url, "--ca", tsa.ca_file
            done = run("timestamp", key_file, *way, "--out", out)
        assert done.exit_code == 0, done.output
        assert f"{number} time stamp" in done.stdout
        files = "-data", "commitment.json", "-in", out.name, "-CAfile", tsa.ca_file
        assert "Verification: OK" in openssl("ts", "-verify", *files, folder=tmp_path).stdout
        assert read_public(key_file).records.time_stamps[number - 1] == out.read_bytes()
    assert "by Second Opinion, policy 1.3.6.1.4.1.99999.1" in done.stdout
    key = tfmark.WatermarkKey.load(key_file, "correct horse")
    assert len(key.records.time_stamps) == 2
    for tsa, stamp in zip((authority, second), key.records.time_stamps, strict=True):
        check_time_stamp(stamp, key.public.document, [tsa.root])


def test_a_stamp_that_does_not_hold_is_not_kept(authority, key_file, tmp_path):
    before, out = key_file.read_bytes(), tmp_path / "commitment.tsr"
    other = make_authority(tmp_path / "other", "Somebody else")
    with serving_time_stamps(authority) as server:
        for ca, text in ((), "--ca FILE.pem"), (("--ca", other.ca_file), "does not chain"):
            done = run("timestamp", key_file, "--tsa", server.url, *ca, "--out", out)
            assert done.exit_code == 2
            assert text in done.stderr
    wrong = authority.stamp(b"another document")
    with serving_time_stamps(authority, lambda _: wrong) as server:
        ca = "--ca", authority.ca_file
        done = run("timestamp", key_file, "--tsa", server.url, *ca, "--out", out)
    assert (done.exit_code, "another document" in done.stderr) == (2, True)
    assert key_file.read_bytes() == before
    assert not out.exists()


def test_nothing_is_asked_if_the_stamp_could_not_be_kept(authority, key_file, tmp_path):
    (tmp_path / "commitment.tsr").write_text("precious")
    damaged = tmp_path / "damaged.tfmark"
    damaged.write_bytes(key_file.read_bytes()[:-1])
    with serving_time_stamps(authority) as server:
        way = "--tsa", server.url, "--ca", authority.ca_file
        done = run("timestamp", key_file, *way, "--out", tmp_path / "commitment.tsr")
        assert (done.exit_code, "--overwrite" in done.stderr) == (2, True)
        assert run("timestamp", damaged, *way).exit_code == 2
        no_ca = run("timestamp", key_file, "--tsa", server.url, "--ca", key_file)
        assert (no_ca.exit_code, "PEM" in no_ca.stderr) == (2, True)
        assert server.requests == []
    assert (tmp_path / "commitment.tsr").read_text() == "precious"


def test_timestamp_over_tls_with_a_password(authority, key_file, tmp_path, monkeypatch):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "tls.pem")
    monkeypatch.setenv("TFMARK_PASSWORD", "s3cr3t")
    with http_server(lambda request: Reply(authority.reply(request.body)), context) as server:
        way = "--tsa", server.url, "--ca", authority.ca_file, "--retries", "0", "--user", "acme"
        distrusted = run("timestamp", key_file, *way)
        assert (distrusted.exit_code, "certificate" in distrusted.stderr) == (2, True)
        done = run("timestamp", key_file, *way, "--cacert", tmp_path / "tls.pem")
        assert done.exit_code == 0, done.output
        assert server.requests[-1].headers["Authorization"].startswith("Basic ")
