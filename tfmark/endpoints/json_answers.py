"""JSON in answers."""

from __future__ import annotations

import base64
import json
from typing import Any

from tfmark.endpoints.http import HttpClient
from tfmark.errors import AnswerError


def loads(body: bytes) -> Any:
    """Parse the body of an answer.

    TensorFlow Serving writes bytes as {"b64": ...}, and does not check that texts are UTF-8.

    Raises:
        AnswerError: if it is no JSON, or nested too deeply.
    """
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        return json.loads(text, object_hook=_unpacked if '"b64"' in text else None)
    except (ValueError, RecursionError):
        raise AnswerError("The answer is not JSON that can be read.") from None


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() != {"b64"} or not isinstance(value["b64"], str):
        return value
    return base64.b64decode(value["b64"]).decode("utf-8", "replace")


def get_json(client: HttpClient, url: str, retries: int = 0) -> Any:
    """Get a JSON answer.

    Raises:
        EndpointError: if there is none.
    """
    return loads(client.get(url, retries))


def by_output(rows: Any) -> Any:
    """Rows of an answer; those of a model with several outputs as columns by name.

    Raises:
        AnswerError: if rows have different outputs.
    """
    if not isinstance(rows, list) or not any(isinstance(row, dict) for row in rows):
        return rows
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise AnswerError("The rows of the answer have different outputs.")
    return {name: [row[name] for row in rows] for name in rows[0]}
