"""TensorFlow Serving's REST paths as a WSGI application."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from tfmark.serving.json_tensors import read_request, write_columns, write_rows
from tfmark.serving.rest_errors import RestError
from tfmark.serving.saved_model import DEFAULT, SavedModel

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<verb>:predict|/metadata)?",
    re.IGNORECASE,
)
_NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD></HTML>\n"


class RestApi:
    """Answers predict, status and metadata requests. Classify, regress and labels are left out.

    Args:
        models: the models by name, one version of each.
    """

    def __init__(self, models: dict[str, SavedModel]):
        self._models = models

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (WSGI, PEP 3333)."""
        path, method = environ["REQUEST_URI"], environ["REQUEST_METHOD"]
        content_type = "application/json"
        if not path.startswith("/v1/"):
            status, answer, content_type = 404, _NOT_FOUND, "text/html"
        else:
            try:
                status, answer = 200, json.dumps(self._answer(method, path, environ))
            except RestError as error:
                status, answer = error.status, json.dumps({"error": str(error)})
        body = answer.encode()
        phrase = HTTPStatus(status).phrase
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        start_response(f"{status} {phrase}", headers)
        return [body]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> dict[str, Any]:
        if re.fullmatch(r"/v1/models/?", path):
            raise RestError(400, "Missing model name in request.")
        match = _PATH.fullmatch(path)
        verb = match["verb"] if match else None
        if not match or method != ("POST" if verb == ":predict" else "GET"):
            raise RestError(400, f"Malformed request: {method} {path}")
        name = unquote(match["name"])
        version = int(match["version"]) if match["version"] else None
        model = self._models.get(name)
        if verb == ":predict":
            request = _read(environ)
            return _predict(self._available(name, version, model), request)
        if verb is not None:
            model = self._available(name, version, model)
            spec = {"name": name, "version": str(model.version), "signature_name": ""}
            return {"model_spec": spec, "metadata": model.metadata}
        if model is None or version not in (None, model.version):
            what = "any versions" if version is None else f"version {version}"
            raise RestError(404, f"Could not find {what} of model {name}")
        state = {
            "version": str(model.version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return {"model_version_status": [state]}

    def _available(self, name: str, version: int | None, model: SavedModel | None) -> SavedModel:
        if model is None or version not in (None, model.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RestError(404, f"Servable not found for request: {wanted}")
        return model


def _read(environ: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a request; what stands behind it is ignored."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if "gzip" in environ.get("HTTP_CONTENT_ENCODING", ""):
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            body = b""
    text = body.decode("utf-8-sig", "replace").lstrip()
    if not text:
        raise RestError(400, "JSON Parse error: The document is empty")
    try:
        request, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise RestError(400, f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise RestError(400, "JSON Value is not an object")
    if not isinstance(request.get("signature_name", ""), str):
        raise RestError(400, "'signature_name' key must be a string value.")
    return request


def _predict(model: SavedModel, request: dict[str, Any]) -> dict[str, Any]:
    signature = request.get("signature_name") or DEFAULT
    outputs = model.predict(signature, read_request(request, model.inputs(signature)))
    if "inputs" in request:
        return {"outputs": write_columns(outputs)}
    return {"predictions": write_rows(outputs)}
