"""Requests of images as "instances" or "inputs", for TensorFlow Serving, KServe and MLflow."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

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
    name = json.dumps(sent.name).encode() if named and sent.name is not None else b""
    before, after = (b"{" + name + b":", b"}") if name else (b"", b"")
    head = b'"signature_name":' + json.dumps(signature).encode() + b"," if signature else b""
    if columns or not sent.batched:
        return b"{" + head + b'"inputs":' + before + _images(images, sent) + after + b"}"
    return b"{" + head + b'"instances":' + _images(images, sent, before, after) + b"}"


def write_examples(images: Pixels, sent: ImageInput, signature: str | None) -> bytes:
    """The body of a classify request: a flat list of numbers, or a file, for each image."""
    flat = images.reshape(len(images), -1) if not sent.is_file else images
    name = json.dumps(sent.name).encode()
    head = b'"signature_name":' + json.dumps(signature).encode() + b"," if signature else b""
    rows = (
        _files(images, sent, b"{" + name + b":", b"}")
        if sent.is_file
        else sent.writer.write(flat, b"{" + name + b":", b"}")
    )
    return b"{" + head + b'"examples":' + rows + b"}"


def file_as_json(file: bytes) -> dict[str, str]:
    """Bytes, as TensorFlow Serving has them in JSON."""
    return {"b64": base64.b64encode(file).decode()}


def _images(images: Pixels, sent: ImageInput, before: bytes = b"", after: bytes = b"") -> bytes:
    if sent.is_file:
        return _files(images, sent, before, after)
    if not sent.batched:
        return sent.writer.write(sent.arrange(images)[np.newaxis])[1:-1]
    return sent.writer.write(sent.arrange(images), before, after)


def _files(images: Pixels, sent: ImageInput, before: bytes, after: bytes) -> bytes:
    depth = len(sent.shape)
    texts = []
    for file in sent.files(images):
        value: Any = file_as_json(file)
        for _ in range(depth):
            value = [value]
        texts.append(before + json.dumps(value).encode() + after)
    return b"[" + b",".join(texts) + b"]"
