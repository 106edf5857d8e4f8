"""TensorFlow Serving's REST API: `POST .../v1/models/NAME:predict`, in row format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmark.answers import ClassIds, class_ids
from tfmark.endpoints.addresses import check_url
from tfmark.endpoints.http import HttpClient, Transport
from tfmark.endpoints.json_images import ImageWriter
from tfmark.endpoints.metadata import Signature, signature_from
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError
from tfmark.pixels import Pixels, ValueRange

MAX_REQUEST = 900_000  # bytes; gateways refuse bodies of more than 1 MB unless told otherwise


class TFServing:
    """Asks a model behind TensorFlow Serving's REST API.

    Args:
        url: address of the model, such as http://localhost:8501/v1/models/digits. What a gateway
            puts before it stays; `/versions/N` and `:predict` at its end are understood.
        image_shape: shape of one image.
        value_range: how the model expects pixels to be scaled; of no effect on a model whose input
            is of an integer dtype.
        num_classes: number of classes K of the key.
        signature: name of the signature to ask. Defaults to `None`, the server's own default.
        output: name of the output to read, if there are several. Defaults to `None`, the only one
            with K scores, else the only one with class ids.
        version: version of the model to ask. Defaults to `None`, the latest.
        headers: sent with each request, such as {"Authorization": "Bearer ..."}.
        timeout: seconds for each try of a request.
        retries: how often to try again where that can help.
        transport: sends the requests, for tests. Defaults to urllib3.

    Raises:
        InvalidArgumentError: if `url` is no such address.
    """

    def __init__(
        self,
        url: str,
        image_shape: tuple[int, ...],
        value_range: ValueRange,
        num_classes: int,
        signature: str | None = None,
        output: str | None = None,
        version: int | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        transport: Transport | None = None,
    ):
        base, self._query = check_url(url)
        base = base.removesuffix(":predict").rstrip("/")
        if base.count("/") < 3:
            raise InvalidArgumentError(
                "Expected the address of a model, such as http://localhost:8501/v1/models/digits. "
                f"Received: {base}"
            )
        self._base = base if version is None else f"{base}/versions/{version}"
        self._image_shape = image_shape
        self._value_range = value_range
        self._num_classes = num_classes
        self._signature = signature
        self._output = output
        self._client = HttpClient(headers, timeout, retries, transport)
        self._writer: ImageWriter | None = None
        self._batch_size: int | None = None

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        if self._writer is None:
            self._writer = self._prepare()
        size = self._batch_size or max(1, MAX_REQUEST // self._writer.bytes_per_image)
        parts = [self._ask(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(parts)

    def _prepare(self) -> ImageWriter:
        """Read the signature if the server tells it, and be ready to write what it expects."""
        signature = self._read_signature() or Signature(self._image_shape)
        self._batch_size = signature.batch_size
        shape = signature.shape_for(self._image_shape)
        return ImageWriter(shape, (0, 255) if signature.integer else self._value_range)

    def _read_signature(self) -> Signature | None:
        """The signature, or `None` where the server does not tell it: many gateways do not."""
        try:
            answer = self._client.get(f"{self._base}/metadata{self._query}", retries=0)
            metadata = _loads(answer)
        except EndpointError:
            return None
        return signature_from(metadata, self._signature, self._image_shape)

    def _ask(self, images: Pixels) -> ClassIds:
        assert self._writer is not None
        asked = images
        if self._batch_size is not None and len(images) < self._batch_size:
            asked = np.resize(images, (self._batch_size, *images.shape[1:]))
        head = f'"signature_name":{json.dumps(self._signature)},' if self._signature else ""
        body = f'{{{head}"instances":{self._writer.write(asked)}}}'
        answer = _loads(self._client.post(f"{self._base}:predict{self._query}", body.encode()))
        outputs = _outputs(answer)
        return class_ids(outputs, len(asked), self._num_classes, self._output)[: len(images)]


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise AnswerError("The answer is not JSON that can be read.") from None


def _outputs(answer: Any) -> Any:
    """The rows of an answer; those of a model with several outputs as columns by name."""
    rows = answer.get("predictions") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise AnswerError('Expected {"predictions": [...]} in the answer.')
    if not any(isinstance(row, dict) for row in rows):
        return rows
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise AnswerError("The rows of the answer have different outputs.")
    return {name: [row[name] for row in rows] for name in rows[0]}
