"""Requests of images as "instances" or "inputs", for TensorFlow Serving, KServe and MLflow."""

from __future__ import annotations

import base64
import json
from typing import Any

from tfmark.endpoints.image_input import ImageInput
from tfmark.pixels import Pixels


def write_request(
    images: Pixels, sent: ImageInput, signature: str | None, named: bool, columns: bool
) -> bytes:
    """The body of a predict request.

    Args:
        images: the images, of shape (n, *image_shape).
        sent: how they are sent.
        signature: name of the signature to ask, if any.
        named: whether the input is called by its name.
        columns: whether to send all images as one tensor ("inputs") instead of in rows.
    """
    opening, closing = _named(sent.name) if named else (b"", b"")
    head = b"{" + _signature(signature)
    if not columns and sent.batched:
        return _list(images, sent, head + b'"instances":', b"}", opening, closing)
    head, tail = head + b'"inputs":' + opening, closing + b"}"
    if sent.batched or sent.is_file:
        return _list(images, sent, head, tail)
    # Without an axis for the batch the one image is the whole tensor, already a list by itself.
    return sent.writer.write(sent.arrange(images), b"", b"", head, tail)


def write_examples(images: Pixels, sent: ImageInput, signature: str | None) -> bytes:
    """The body of a classify request: a flat list of numbers, or a file, for each image."""
    opening, closing = _named(sent.name)
    head = b"{" + _signature(signature) + b'"examples":'
    if sent.is_file:
        return _list(images, sent, head, b"}", opening, closing)
    return sent.writer.write(images.reshape(len(images), -1), opening, closing, head, b"}")


def _signature(name: str | None) -> bytes:
    return b'"signature_name":' + json.dumps(name).encode() + b"," if name else b""


def _named(name: str | None) -> tuple[bytes, bytes]:
    return b"{" + json.dumps(name).encode() + b":", b"}"


def _list(
    images: Pixels,
    sent: ImageInput,
    head: bytes,
    tail: bytes,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    if not sent.is_file:
        return sent.writer.write(sent.arrange(images), before, after, head, tail)
    rows = [before + _file(file, len(sent.shape)) + after for file in sent.files(images)]
    return b"".join((head, b"[", b",".join(rows), b"]", tail))


def _file(file: bytes, depth: int) -> bytes:
    """Bytes as TensorFlow Serving has them in JSON, in so many lists."""
    value: Any = {"b64": base64.b64encode(file).decode()}
    for _ in range(depth):
        value = [value]
    return json.dumps(value).encode()
