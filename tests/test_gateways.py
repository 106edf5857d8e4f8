"""`verify` through a real nginx: credentials, certificates, paths, limits, proxies, failures.

Each case ends in "owned", or in "inconclusive" with one clear reason and no secret in it.
"""

import base64
import contextlib
import datetime
import json
import logging
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import time
from urllib.parse import quote, unquote

import pytest
import trustme
import urllib3
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import tfmark
from tests.gateways import NGINX, forward_proxy, nginx
from tests.http_server import Reply, http_server, watermarked
from tests.test_tf_serving import metadata
from tests.test_verification import KEY, keras_model, new_key  # noqa: F401
from tfmark.errors import InvalidArgumentError


@pytest.fixture(scope="module", autouse=True)
def _nginx_is_here():
    if NGINX is None:
        needed = os.environ.get("TFMARK_REQUIRE_NGINX")
        (pytest.fail if needed else pytest.skip)("nginx is missing: apt-get install nginx-light")


TOKEN = "t0ken-c0ffee/+42=="
API_KEY = "ap1-k3y-0123456789"
PASSWORD = "pa55-wörd"
BASIC = base64.b64encode(f"owner:{PASSWORD}".encode()).decode()
PROXY_PASSWORD = "pr0xy-pa55@/"
PROXY_BASIC = base64.b64encode(f"me:{PROXY_PASSWORD}".encode()).decode()
SECRETS = (TOKEN, API_KEY, PASSWORD, BASIC, PROXY_PASSWORD, PROXY_BASIC, quote(PROXY_PASSWORD, ""))
PATIENT = {"timeout": 20.0, "retries": 0}


@pytest.fixture(scope="module")
def served(keras_model, tmp_path_factory):  # noqa: F811
    """Address of a real model that knows the key's triggers by heart, on the embedded server."""
    folder = tmp_path_factory.mktemp("served")
    keras_model().export(folder / "digits" / "1", verbose=False)
    with tfmark.serve(folder, server="embedded") as server:
        yield f"http://{server.host}:{server.port}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with certificates, keys and passwords."""
    folder = tmp_path_factory.mktemp("files")
    ca, stranger = trustme.CA(), trustme.CA()
    names = ("127.0.0.1", "model.test")
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    client = ca.issue_cert("owner@model.test")
    for name, certificate in {
        "server": ca.issue_cert(*names),
        "expired": ca.issue_cert(
            *names, not_before=long_ago, not_after=long_ago + datetime.timedelta(1)
        ),
        "elsewhere": ca.issue_cert("elsewhere.test"),
        "client": client,
        "foreign": stranger.issue_cert("owner@model.test"),
    }.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    key = load_pem_private_key(client.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(PASSWORD.encode())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    (folder / "locked.pem").write_bytes(client.cert_chain_pems[0].bytes() + locked)
    (folder / "passwords").write_text(f"owner:{{PLAIN}}{PASSWORD}\n")
    return folder


@pytest.fixture
def gateway(served, files, tmp_path, monkeypatch):
    """Start nginx, with all files in its folder and ours; behind it the model, unless told."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:

        def start(*servers, backend=served):
            rest = "location / { proxy_pass BACKEND; }"
            blocks = [f"{server} {rest}".replace("BACKEND", backend) for server in servers]
            return stack.enter_context(nginx(tmp_path, *blocks))

        yield start


def check(verdict, says=()):
    """Owned, or if reasons are given inconclusive with all of them; without secrets."""
    text = f"{verdict!r} {verdict} {json.dumps(verdict.to_dict())}"
    assert not [secret for secret in SECRETS if secret in text]
    assert not re.search(r"[-\d.,\[\] ]{20,}", verdict.reason)  # what triggers would look like
    assert verdict.status == ("inconclusive" if says else "owned"), verdict.reason
    for pattern in says:
        assert re.search(pattern, verdict.reason), verdict.reason
    if says:
        assert "<" not in verdict.reason
        assert len(verdict.reason) < 400


def case(name, config, *says, path="/v1/models/digits", scheme=None, **options):
    """How nginx is configured, how it is asked, and why that fails if it does."""
    scheme = scheme or ("https" if "ssl_" in config else "http")
    return pytest.param(config, scheme, path, options, says, id=name)


def bearer(token):
    return {"headers": {"Authorization": f"Bearer {token}"}}


def html(status, page):
    return f"location ~ predict {{ default_type text/html; return {status} '{page}'; }}"


BEARER = f'if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}'
HEADER = f'if ($http_x_api_key != "{API_KEY}") {{ return 403; }}'
QUERY = f"if ($arg_key != {API_KEY}) {{ return 403 'No $request_uri'; }} set $args '';"
BASIC_AUTH = "auth_basic models; auth_basic_user_file passwords;"

CREDENTIALS = [
    case("bearer", BEARER, **bearer(TOKEN)),
    case("bearer wrong", BEARER, "401", "Authorization Required", **bearer(TOKEN[::-1])),
    case("bearer missing", BEARER, "401"),
    case(
        "bearer echoed", "return 403 '<html>$http_authorization is unknown</html>';",
        "403: .*is unknown", **bearer(TOKEN),
    ),
    case(
        "bearer too long", BEARER, "400", "Header Or Cookie Too Large", **bearer(TOKEN * 600),
    ),
    case("header", HEADER, headers={"X-Api-Key": API_KEY}),
    case("header in another spelling", HEADER, headers={"x-api-KEY": API_KEY}),
    case("header wrong", HEADER, "403", headers={"X-Api-Key": API_KEY[::-1]}),
    case("header missing", HEADER, "403"),
    case("query", QUERY, path=f"/v1/models/digits?team=7&key={API_KEY}"),
    case("query wrong and echoed", QUERY, "403", path=f"/v1/models/digits?key={API_KEY}x"),
    case("query behind the verb", QUERY, path=f"/v1/models/digits:predict?key={API_KEY}"),
    case("basic", BASIC_AUTH, auth=("owner", PASSWORD)),
    case("basic wrong", BASIC_AUTH, "401", auth=("owner", PASSWORD + "x")),
    case("basic missing", BASIC_AUTH, "401"),
    case("basic as a header", BASIC_AUTH, headers={"Authorization": f"Basic {BASIC}"}),
]  # fmt: skip


def tls(name):
    return f"ssl_certificate {name}.pem; ssl_certificate_key {name}.pem;"


TLS = tls("server")
MUTUAL = TLS + "ssl_client_certificate ca.pem; ssl_verify_client on;"
OLD = TLS + "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;"
TRUST = {"ca_file": "ca.pem"}

CERTIFICATES = [
    case("tls", TLS, **TRUST),
    case("tls with a header", TLS + BEARER, **TRUST, **bearer(TOKEN)),
    case("system's ca", TLS, "certificate", "self-signed|unable to get local issuer"),
    case("another ca", TLS, "certificate", "self-signed|unable", ca_file="foreign.pem"),
    case("expired", tls("expired"), "certificate", "has expired", **TRUST),
    case("wrong host", tls("elsewhere"), "certificate", "IP address mismatch", **TRUST),
    case("http to a port for https", TLS, "400", "HTTP request was sent to HTTPS", scheme="http"),
    case("mutual, one file", MUTUAL, cert_file="client.pem", **TRUST),
    case("mutual, two files", MUTUAL, cert_file="certificate.pem", key_file="key.pem", **TRUST),
    case("mutual, missing", MUTUAL, "400", "No required SSL certificate was sent", **TRUST),
    case("mutual, foreign", MUTUAL, "400", "certificate error", cert_file="foreign.pem", **TRUST),
]

# Failures of TLS that have nothing to do with certificates.
OTHER = "^(?!.*certificate)"
NO_TLS = [
    case("https to a port for http", "", "(?i)wrong version", OTHER, scheme="https", **TRUST),
    case("only old tls", OLD, "(?i)protocol version", OTHER, **TRUST),
    case("handshake refused", "ssl_reject_handshake on;", "(?i)unrecognized", OTHER, **TRUST),
]

PREDICT = "/v1/models/digits:predict"
PATHS = [
    case("prefix", "rewrite ^/team/a(/.*) $1;", path="/team/a/v1/models/digits"),
    case("prefix and version", "rewrite ^/a(/.*) $1;", path="/a/v1/models/digits/versions/1"),
    case("prefix and slash", "rewrite ^/a(/.*) $1;", path="/a/v1/models/digits/"),
    case("a path of its own", f"rewrite ^/api/digits:predict$ {PREDICT};", path="/api/digits"),
    case("invocations", f"rewrite ^/invocations$ {PREDICT};", path="/invocations"),
    case("invocations below", f"rewrite ^/d/invocations$ {PREDICT};", path="/d/invocations"),
    case(
        "a path that is posted to as it is", f"rewrite ^/api/score$ {PREDICT};", path="/api/score"
    ),
    case("metadata forbidden", "location ~ /metadata { return 403; }"),
    case("metadata not found", "location ~ /metadata { return 404; }"),
    case("metadata redirected", "location ~ /metadata { return 302 /login; }"),
    case("metadata as a page", "location ~ /metadata { return 200 '<html>Welcome</html>'; }"),
    case("only POST", "location /v1 { limit_except POST { deny all; } proxy_pass BACKEND; }"),
    case("nothing there", "return 404;", "404", "Not Found"),
]

FIVE_A_SECOND = "limit_req zone=five_a_second;"
ONE_A_MINUTE = "limit_req zone=one_a_minute;"
PADDING = f"set $a {'A' * 4000}; add_header X-Padding"
LIMITS = [
    case("small bodies", "client_max_body_size 1k;"),
    case("too small bodies", "client_max_body_size 512;", "413", "Request Entity Too Large"),
    case("large head", f"{PADDING} {'$a' * 8};"),
    case("too large head", f"{PADDING} {'$a' * 17};", "broke|head"),
    case("rate", f"{ONE_A_MINUTE} limit_req_status 429;", "429"),
    case("rate, 503", ONE_A_MINUTE, "503"),
    case("rate and delay", FIVE_A_SECOND, batch_size=5, delay=0.4),
    case("rate and retries", f"{FIVE_A_SECOND} limit_req_status 429;", batch_size=5, retries=3),
    case("rate and retries, 503", FIVE_A_SECOND, batch_size=5, retries=3),
    case(
        "rate, told how long", f"{FIVE_A_SECOND} limit_req_status 429; error_page 429 @busy;"
        "location @busy { add_header Retry-After 1 always; return 429; }",
        batch_size=5, retries=1,
    ),
]  # fmt: skip

STYLED = "<html><head><style>p { color: red }</style></head><p>Ask Bob</p></html>"
LONG = f"<html><style>{'p { color: red } ' * 180}</style><body><p>Ask Bob</p></body></html>"
SCRIPTED = "<html><head><script>if (1 < 2) { go() }</script></head><p>Ask Bob</p></html>"
FAILURES = [
    case("down", "location /v1 { proxy_pass http://127.0.0.1:1; }",
         "502", "Bad Gateway"),
    case("slow", "proxy_read_timeout 100ms; location /v1 { proxy_pass http://127.0.0.1:SILENT; }",
         "504", "Gateway Time-out"),
    case("closes without an answer", "return 444;", "broke|closed|answer"),
    case("page", html(403, "<html><h1>Ask Bob</h1></html>"), "403: Ask Bob"),
    case("page of tags alone", html(403, "<h1>Ask</h1> <b>Bob</b>"), "403: Ask Bob"),
    case("page with entities", html(403, "<html>Ask &quot;Bob&quot; &amp; co</html>"),
         '403: Ask "Bob" & co'),
    case("page with a style", html(403, STYLED), "403: Ask Bob"),
    case("page with a long style", html(403, LONG), "403: Ask Bob"),
    case("page with a script", html(403, SCRIPTED), "403: Ask Bob"),
    case("nginx's own page", "return 403;", "403: (403 Forbidden )+nginx"),
    case("page instead of an answer", html(200, "<html>Log in</html>"), "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "scheme", "path", "options", "says"),
    [*CREDENTIALS, *CERTIFICATES, *NO_TLS, *PATHS, *LIMITS, *FAILURES],
)
def test_asking_through_nginx(gateway, config, scheme, path, options, says):
    with http_server(lambda _: None) as silent:
        front = gateway(config.replace("SILENT", str(silent.server_port)))
        url = f"{scheme}://127.0.0.1:{front.port}{path}"
        check(tfmark.verify(url, KEY, **PATIENT | options), says)


GZIP = "gzip on; gzip_min_length 1; gzip_types application/json; gzip_proxied any;"
OLD_HTTP = [b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"]
CHUNKED = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]


def chunked(body):
    pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]]


@pytest.mark.parametrize(
    ("config", "form", "encodings", "connections"),
    [
        ("", None, ("-", "-"), 1),
        (GZIP, None, ("chunked", "gzip"), 1),
        (GZIP + TLS, None, ("chunked", "gzip"), 1),
        (GZIP + "chunked_transfer_encoding off;", None, ("-", "gzip"), 5),
        ("proxy_http_version 1.1;", chunked, ("chunked", "-"), 1),
        ("proxy_http_version 1.1; proxy_buffering off;", chunked, ("chunked", "-"), 1),
        ("", lambda body: [body], ("chunked", "-"), 1),
        ("chunked_transfer_encoding off;", lambda body: [body], ("-", "-"), 5),
        ("keepalive_timeout 0;", None, ("-", "-"), 5),
        ("keepalive_requests 1;", None, ("-", "-"), 5),
        ("keepalive_timeout 50ms;", None, ("-", "-"), 5),
    ],
    ids=["plain", "gzip", "gzip over tls", "gzip without length", "chunked", "chunked unbuffered",
         "http/1.0", "http/1.0 to the end", "no keep-alive", "one request each", "idle closes"],
)  # fmt: skip
def test_answers_in_all_forms(gateway, served, config, form, encodings, connections):
    by_heart = watermarked(KEY)

    def answer(request):
        reply = by_heart(request)
        head = CHUNKED if form is chunked else OLD_HTTP
        return reply if reply.status != 200 else [*head, *form(reply.body.encode())]

    with http_server(answer) as other:
        front = gateway(config, backend=served if form is None else other.url)
        url = f"http{'s' * ('ssl_' in config)}://127.0.0.1:{front.port}/v1/models/digits"
        delay = 0.15 if "50ms" in config else 0.0
        options = {"batch_size": 2, "delay": delay, **(TRUST if "ssl_" in config else {})}
        check(tfmark.verify(url, KEY, **PATIENT, **options))
        predictions = [line for line in front.log(6) if line.method == "POST"]
    assert {(line.transfer_encoding, line.content_encoding) for line in predictions} == {encodings}
    assert len({line.connection for line in predictions}) == connections
    assert len(predictions) == 5


@pytest.mark.parametrize("config", ["", "client_max_body_size 300k;", "lingering_close off;"
                                    "client_max_body_size 300k;"])  # fmt: skip
def test_large_images_go_through_in_bodies_that_are_let_in(gateway, config):
    key = new_key(shape=(64, 64, 3))
    with http_server(watermarked(key)) as server:
        front = gateway(config, backend=server.url)
        url = f"http://127.0.0.1:{front.port}/v1/models/m"
        check(tfmark.verify(url, key, **PATIENT))
        accepted = [len(request.body) for request in server.requests if request.method == "POST"]
    assert len(accepted) < 10
    assert max(accepted) < (300 << 10 if config else 1 << 20)


@pytest.mark.parametrize("host", ["a.test", "b.test", None])
@pytest.mark.parametrize("security", ["", TLS])
def test_a_host_chooses_among_models_behind_one_address(gateway, host, security):
    with http_server(watermarked(KEY)) as server:
        front = gateway(
            f"{security} server_name a.test; location /v1 {{ return 403; }}",
            f"{security} server_name b.test; location /v1 {{ proxy_pass {server.url}; }}",
        )
        url = f"http{'s' * bool(security)}://127.0.0.1:{front.port}/v1/models/m"
        headers = {"Host": host} if host else {}
        verdict = tfmark.verify(url, KEY, headers=headers, **PATIENT, **TRUST if security else {})
    check(verdict, () if host == "b.test" else ["403"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["other host", "https", "same host"])
def test_a_redirect_is_not_followed(gateway, files, status, to):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "server.pem")
    with http_server(watermarked(KEY), context if to == "https" else None) as other:
        target = "/elsewhere" if to == "same host" else f"{other.url}$request_uri"
        front = gateway(
            f"location /v1 {{ return {status} {target}; }}"
            f"location /elsewhere {{ proxy_pass {other.url}; }}"
        )
        verdict = tfmark.verify(
            f"http://127.0.0.1:{front.port}/v1/models/digits?key={API_KEY}", KEY,
            auth=("owner", PASSWORD), headers={"X-Api-Key": API_KEY}, **TRUST, **PATIENT,
        )  # fmt: skip
        assert other.requests == []
    check(verdict, [str(status), "redirects"])


LOCKED = {"cert_file": "locked.pem"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LOCKED, "passphrase"),
        ({"cert_file": "certificate.pem", "key_file": "locked.pem"}, "passphrase"),
        ({"cert_file": "certificate.pem"}, ": .*key"),
        ({"cert_file": "foreign.pem", "key_file": "key.pem"}, "(?i)mismatch"),
        ({"cert_file": "missing.pem"}, r"cert_file.*No such file"),
        ({"cert_file": "passwords"}, "cert_file.*certificate"),
        ({"ca_file": "missing.pem"}, "ca_file.*No such file"),
        ({"ca_file": "passwords"}, "ca_file"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_error(gateway, options, text):
    gateway(TLS)
    with pytest.raises(InvalidArgumentError, match=text) as caught:
        tfmark.verify("https://127.0.0.1:1/v1/models/m", KEY, **PATIENT, **options)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_nobody_is_asked_for_a_passphrase(files, tmp_path):
    """In a process with a terminal of its own, on which OpenSSL would ask."""
    KEY.save(tmp_path / "owner.tfmark")
    program = "import os, tfmark.cli; os.open(os.ttyname(0), os.O_RDWR); tfmark.cli.main()"
    arguments = [tmp_path / "owner.tfmark", "https://127.0.0.1:1/v1/models/m"]
    ours, terminal = os.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(terminal, "rb"):
        run = subprocess.run(
            [sys.executable, "-c", program, "verify", *arguments, "--cert", files / "locked.pem"],
            stdin=terminal, capture_output=True, start_new_session=True, timeout=60, check=False,
        )  # fmt: skip
        assert not select.select([ours], [], [], 0)[0]
    assert run.returncode == 2, run
    assert b"cert_file" in run.stderr


@pytest.mark.parametrize("config", [TLS, tls("expired")], ids=["untrusted", "expired"])
def test_a_certificate_that_was_refused_is_not_looked_at_again(gateway, config):
    front = gateway(config)
    start = time.monotonic()
    url = f"https://127.0.0.1:{front.port}/v1/models/digits"
    verdict = tfmark.verify(url, KEY, timeout=20.0, retries=2)
    assert verdict.status == "inconclusive"
    assert time.monotonic() - start < 1.2  # two more tries would wait 0.5 and 1 s


def test_metadata_that_is_refused_for_a_moment_is_asked_for_again(gateway):
    """A model for integers, behind a gateway that is busy when it is asked for the first time."""
    by_heart = watermarked(KEY)

    def answer(request):
        if request.method == "GET":
            return Reply(json.dumps(metadata(dtype="DT_INT32")))
        return by_heart(request) if b"." not in request.body else Reply("Expected integers", 400)

    with http_server(answer) as server:
        front = gateway(
            f"location ~ /metadata {{ limit_req zone=five_a_second; proxy_pass {server.url}; }}",
            backend=server.url,
        )
        url = f"http://127.0.0.1:{front.port}/v1/models/m"
        urllib3.request("GET", f"{url}/metadata", retries=False)
        check(tfmark.verify(url, KEY, timeout=20.0, retries=2))


def test_a_rate_limit_costs_few_requests(gateway):
    """Smaller batches would be refused all the more."""
    front = gateway("limit_req zone=five_a_second; limit_req_status 429;")
    url = f"http://127.0.0.1:{front.port}/v1/models/digits"
    check(tfmark.verify(url, KEY, timeout=20.0, retries=2))
    assert len(front.log(2)) <= 4


def test_a_secret_of_the_address_is_known_when_it_is_echoed_decoded(gateway):
    secret = "k3y/with+signs=="
    with http_server(lambda request: Reply(unquote(request.path), 403)) as server:
        front = gateway("", backend=server.url)
        url = f"http://127.0.0.1:{front.port}/v1/models/m?key={quote(secret, '')}"
        verdict = tfmark.verify(url, KEY, **PATIENT)
    assert secret not in verdict.reason


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_nothing_secret_is_logged(gateway, caplog, level):
    caplog.set_level(level)
    front = gateway("set $args '';")
    url = f"http://127.0.0.1:{front.port}/v1/models/digits?key={API_KEY}"
    check(tfmark.verify(url, KEY, auth=("owner", PASSWORD), **PATIENT))
    assert not [secret for secret in SECRETS if secret in caplog.text]


@pytest.fixture
def proxied(monkeypatch):
    """Set the environment's proxies. Nobody here can look up `model.test` but the proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    look_up = socket.getaddrinfo
    known = []

    def addresses(host, *rest, **options):
        if host.endswith(".test") and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up("127.0.0.1" if host in known else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", addresses)

    def set_environment(names=(), **environment):
        known.extend(names)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return set_environment


PASS = f"me:{quote(PROXY_PASSWORD, '')}@"


@pytest.mark.parametrize(
    ("scheme", "environment", "by_proxy"),
    [
        ("http", {"http_proxy": "http://PROXY"}, True),
        ("http", {"http_proxy": "PROXY"}, True),
        ("http", {"HTTP_PROXY": "http://PROXY/"}, True),
        ("http", {"all_proxy": "http://PROXY"}, True),
        ("http", {"http_proxy": f"http://{PASS}PROXY"}, True),
        ("http", {"https_proxy": "http://PROXY"}, False),
        ("https", {"https_proxy": "http://PROXY"}, True),
        ("https", {"HTTPS_PROXY": f"http://{PASS}PROXY"}, True),
        ("https", {"ALL_PROXY": f"http://{PASS}PROXY"}, True),
        ("https", {"http_proxy": "http://PROXY"}, False),
        ("http", {"http_proxy": "http://PROXY", "no_proxy": "model.test"}, False),
        ("http", {"http_proxy": "http://PROXY", "no_proxy": "a.b, .test"}, False),
        ("https", {"https_proxy": "http://PROXY", "NO_PROXY": "*"}, False),
        ("https", {"https_proxy": "http://PROXY", "no_proxy": "model.test:TARGET"}, False),
        ("https", {"https_proxy": "http://PROXY", "no_proxy": "del.test,test.model"}, True),
    ],
)
def test_proxies_of_the_environment(gateway, proxied, scheme, environment, by_proxy):
    by_heart = watermarked(KEY)
    with http_server(by_heart) as server, forward_proxy() as proxy:
        security = TLS if scheme == "https" else ""
        front = gateway(security, backend=server.url)
        environment = {
            name: value.replace("PROXY", f"127.0.0.1:{proxy.port}").replace(
                "TARGET", str(front.port)
            )
            for name, value in environment.items()
        }
        proxied(() if by_proxy else ("model.test",), **environment)
        url = f"{scheme}://model.test:{front.port}/v1/models/m"
        trust = TRUST if security else {}
        check(tfmark.verify(url, KEY, headers={"X-Api-Key": API_KEY}, **PATIENT, **trust))
        assert server.requests
        for request in server.requests:
            assert request.headers["X-Api-Key"] == API_KEY
            assert "Proxy-Authorization" not in request.headers
    assert bool(proxy.heads) == by_proxy
    with_password = any(PASS in value for value in environment.values())
    for head in proxy.heads:
        sent = re.findall(r"(?im)^proxy-authorization: Basic (.*?)\r$", head)
        assert sent == [PROXY_BASIC] * with_password
        if scheme == "https":
            assert head.startswith(f"CONNECT model.test:{front.port} ")
            assert API_KEY not in head
        else:
            assert f" {url}" in head.splitlines()[0]


def test_this_machine_is_not_asked_by_way_of_a_proxy(gateway, proxied):
    with forward_proxy() as proxy:
        front = gateway("")
        proxied(http_proxy=f"http://127.0.0.1:{proxy.port}")
        check(tfmark.verify(f"http://127.0.0.1:{front.port}/v1/models/digits", KEY, **PATIENT))
    assert proxy.heads == []


def refusal(status, text=""):
    head = f"HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {len(text)}"
    return f"{head}\r\n\r\n{text}".encode()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refusal(407, "Who are you?"), ["407"]),
        (refusal(407, f"{PASS} {PROXY_BASIC} {PROXY_PASSWORD}"), ["407"]),
        (refusal(403, "Not to there"), ["403"]),
        (refusal(502, "Nobody is there"), ["502"]),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ["broke|proxy"]),
        (b"", ["broke|proxy"]),
    ],
    ids=["407", "407 with an echo", "403", "502", "no http", "silence"],
)
def test_a_proxy_that_refuses(proxied, scheme, answer, says):
    with forward_proxy(answer) as proxy:
        proxied(**{f"{scheme}_proxy": f"http://{PASS}127.0.0.1:{proxy.port}"})
        verdict = tfmark.verify(f"{scheme}://model.test/v1/models/m", KEY, **PATIENT)
    assert proxy.heads
    check(verdict, says)


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, "model.test.*(?i:name|unknown|found)"),
        ({"http_proxy": f"http://{PASS}127.0.0.1:1"}, "proxy"),
        ({"http_proxy": f"http://{PASS}nowhere.test:1"}, "proxy"),
    ],
    ids=["no proxy", "proxy down", "unknown proxy"],
)
def test_where_nobody_can_be_reached(proxied, environment, text):
    proxied(**environment)
    check(tfmark.verify("http://model.test/v1/models/m", KEY, **PATIENT), [text])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_never_answers(proxied, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxied(**{f"{scheme}_proxy": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        url = f"{scheme}://model.test/v1/models/m"
        check(tfmark.verify(url, KEY, timeout=0.3, retries=0), [r"within 0\.3 s"])
