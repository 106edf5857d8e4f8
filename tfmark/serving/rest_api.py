"""TensorFlow Serving's REST paths as a WSGI application."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from http.client import responses
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from tfmark.serving import examples
from tfmark.serving.json_reader import read_json
from tfmark.serving.json_tensors import malformed, read_tensors
from tfmark.serving.json_writer import write_columns, write_results, write_rows
from tfmark.serving.rest_errors import RestError
from tfmark.serving.saved_model import SavedModel

DEFAULT = "serving_default"
MAX_INFLATED = 100 << 20  # bytes
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH")

_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<verb>metadata))?", re.IGNORECASE
)
# libevent's page
_HTML = "<HTML><HEAD>\n<TITLE>{0} {1}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"


class _Which(NamedTuple):
    """The model that a path names."""

    name: str
    version: int | None
    label: str


class RestApi:
    """Answers predict, classify, regress, status and metadata requests.

    Args:
        models: the versions of each model, by their names.
    """

    def __init__(self, models: Mapping[str, Mapping[int, SavedModel]]):
        self._models = models

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (WSGI, PEP 3333)."""
        path = re.sub("^https?://[^/]*", "", environ["REQUEST_URI"])
        status, kind, answer = self._respond(environ["REQUEST_METHOD"], path, environ)
        body = answer.encode("utf-8", "surrogateescape")
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(f"{status} {responses.get(status, 'Unknown')}", headers)
        return [body]

    def _respond(self, method: str, path: str, environ: dict[str, Any]) -> tuple[int, str, str]:
        """Status, type and body of the answer."""
        if method not in METHODS:
            return 501, "text/html", _HTML.format(501, responses[501])
        if not path.lower().startswith("/v1/"):
            return 404, "text/html", _HTML.format(404, responses[404])
        if method == "OPTIONS":
            web = environ.get("HTTP_ORIGIN", "").startswith(("http://", "https://"))
            return 200 if web else 400, "text/html; charset=ISO-8859-1", ""
        try:
            return 200, "application/json", self._answer(method, path, environ)
        except RestError as raised:
            error = raised
        except RecursionError:
            error = RestError("JSON Parse error: nested too deeply")
        body = json.dumps({"error": str(error)}, ensure_ascii=False) if str(error) else ""
        return error.status, "application/json", body

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> str:
        pattern = {"POST": _POST, "GET": _GET}.get(method)
        match = pattern.fullmatch(path) if pattern else None
        if not match or (method == "POST" and match["verb"] != match["verb"].lower()):
            raise RestError(f"Malformed request: {method} {path}")
        if not match["name"]:
            raise RestError("Missing model name in request.")
        which = _which(match)
        if method == "POST":
            return self._infer(match["verb"], which, _read(environ))
        if match["verb"] == "metadata":
            version, model = self._find(which)
            spec = {"name": which.name, "version": str(version), "signature_name": ""}
            return json.dumps({"model_spec": spec, "metadata": model.metadata}, indent=1)
        return json.dumps({"model_version_status": self._status(which)}, indent=1)

    def _infer(self, verb: str, which: _Which, request: dict[str, Any]) -> str:
        signature = request.get("signature_name") or DEFAULT
        if verb != "predict":
            given = examples.read_examples(request)
            _, model = self._find(which)
            infer = examples.classify if verb == "classify" else examples.regress
            return write_results(infer(model, signature, given))
        _, model = self._find(which)
        if signature not in model.signatures:
            raise RestError(f'Serving signature name: "{signature}" not found in signature def')
        specs = model.inputs(signature)
        if not specs:
            raise RestError(f"Failed to get input map for signature: {signature}")
        outputs = model.run(signature, read_tensors(request, specs))
        return write_rows(outputs) if "instances" in request else write_columns(outputs)

    def _find(self, which: _Which) -> tuple[int, SavedModel]:
        """The version that was meant, and its model."""
        name, version, label = which
        versions = self._models.get(name, {})
        if label and versions:
            raise RestError(f"Unrecognized servable version label: {label}")
        found = max(versions, default=0) if version is None else version
        if found not in versions:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RestError(f"Servable not found for request: {wanted}", "NOT_FOUND")
        return found, versions[found]

    def _status(self, which: _Which) -> list[dict[str, Any]]:
        """The latest version first; labels make no difference here."""
        name, version, _ = which
        versions = self._models.get(name, {})
        found = sorted(versions, reverse=True) if version is None else {version} & versions.keys()
        if not found:
            what = "any versions" if version is None else f"version {version}"
            raise RestError(f"Could not find {what} of model {name}", "NOT_FOUND")
        fine = {"error_code": "OK", "error_message": ""}
        return [{"version": str(v), "state": "AVAILABLE", "status": fine} for v in found]


def _which(match: re.Match[str]) -> _Which:
    digits = match["version"] and (match["version"].lstrip("0") or "0")
    if digits and (len(digits) > 19 or int(digits) >= 2**63):
        raise RestError("")  # that is its whole answer
    version = int(digits) if digits else None
    return _Which(_decode(match["name"]), version, _decode(match["label"] or ""))


def _decode(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


def _read(environ: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a request."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if "gzip" in environ.get("HTTP_CONTENT_ENCODING", ""):
        body = _inflate(body)
    request = read_json(body)
    if not isinstance(request, dict):
        raise malformed(request, "Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        problem = "not formatted correctly. 'signature_name' key must be a string value."
        raise malformed(request, problem)
    return request


def _inflate(body: bytes) -> bytes:
    """Inflate gzip; nothing is left of what is broken or too large, as in TensorFlow Serving."""
    stream = zlib.decompressobj(wbits=31)
    try:
        inflated = stream.decompress(body, MAX_INFLATED)
    except zlib.error:
        return b""
    return inflated if stream.eof and not stream.unused_data else b""
