"""KServe's V2 protocol, the Open Inference Protocol: Triton, MLServer, KServe."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from tfmark.endpoints.addresses import check_url
from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.image_input import ImageInput
from tfmark.endpoints.json_answers import get_json, loads
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import DEFAULT, MAX_RANK, Signature, TensorInfo
from tfmark.errors import AnswerError, InvalidArgumentError
from tfmark.pixels import Pixels

_DTYPES = {
    "FP16": "float16", "BF16": "bfloat16", "FP32": "float32", "FP64": "float64", "BOOL": "bool",
    "BYTES": "string",
}  # fmt: skip
_DATATYPES = {name: datatype for datatype, name in _DTYPES.items()}
ANY_NAME = "input-0"


class OpenInference:
    """A model behind the Open Inference Protocol.

    Args:
        url: address of the model, such as http://localhost:8000/v2/models/digits, with or without
            `/versions/N` and `/infer`.
        dialect: how it wants to be asked.
        client: sends the requests.

    Raises:
        InvalidArgumentError: if `url` is no such address, or an option means nothing here.
    """

    def __init__(self, url: str, dialect: Dialect, client: HttpClient):
        dialect.refuse("The Open Inference Protocol", "signature", "version_label", "columns")
        base, self._query = check_url(url)
        self._model = base.removesuffix("/infer")
        if "/v2/models/" not in self._model:
            raise InvalidArgumentError(
                "Expected the address of a model, such as http://localhost:8000/v2/models/digits. "
                f"Received: {base}"
            )
        self.address = self._model
        version = dialect.version
        if version is not None and self._model.rpartition("/")[0].endswith("/versions"):
            raise InvalidArgumentError(
                "Expected a version in the address or as an option. Received both."
            )
        self._base = self._model if version is None else f"{self._model}/versions/{version}"
        self._client = client

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`."""
        return _signatures(get_json(self._client, self._base + self._query, retries=2))

    def describe(self) -> Description:
        """See `Service.describe`."""
        metadata = get_json(self._client, self._base + self._query)
        if not (isinstance(metadata, dict) and isinstance(metadata.get("inputs"), list)):
            raise AnswerError("This is not the Open Inference Protocol's metadata of a model.")
        versions = metadata.get("versions")
        known = tuple(map(str, versions)) if isinstance(versions, list) else ()
        platform = metadata.get("platform")
        name = f"open-inference ({platform})" if platform else "open-inference"
        return Description(name, known, _signatures(metadata))

    def ask(self, images: Pixels, sent: ImageInput) -> Any:
        """See `Service.ask`."""
        tensor: dict[str, Any] = {
            "name": sent.name or ANY_NAME,
            "shape": sent.full_shape(len(images)),
            "datatype": _datatype(sent),
        }
        if sent.is_file:
            tensor["parameters"] = {"content_type": "base64"}
            tensor["data"] = [base64.b64encode(file).decode() for file in sent.files(images)]
            body = json.dumps({"inputs": [tensor]}).encode()
        else:
            # Flat, as every server takes it: the pixels of all images as one list.
            data = sent.writer.write(sent.arrange(images).reshape(1, -1))[1:-1]
            head = json.dumps(tensor)[:-1].encode()
            body = b'{"inputs":[' + head + b',"data":' + data + b"}]}"
        answer = loads(self._client.post(f"{self._base}/infer{self._query}", body))
        return _outputs(answer)


def _datatype(sent: ImageInput) -> str:
    if sent.is_file:
        return "BYTES"
    return _DATATYPES.get(sent.dtype, sent.dtype.upper())


def _signatures(metadata: Any) -> tuple[Signature, ...]:
    """The one signature of a model, none if this is not its metadata."""
    try:
        inputs, outputs = (tuple(map(_tensor, metadata[name])) for name in ("inputs", "outputs"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()
    return (Signature(DEFAULT, inputs, outputs),) if inputs else ()


def _tensor(tensor: dict[str, Any]) -> TensorInfo:
    name, datatype = str(tensor["name"]), str(tensor["datatype"])
    shape = tuple(int(side) for side in tensor["shape"])
    return TensorInfo(name, _DTYPES.get(datatype, datatype.lower()), shape or None)


def _outputs(answer: Any) -> dict[str, Any]:
    """The outputs by name; flat data in the shape that was told."""
    try:
        tensors = {str(tensor["name"]): tensor for tensor in answer["outputs"]}
        return {name: _shaped(tensor) for name, tensor in tensors.items()}
    except (KeyError, TypeError, AttributeError):
        raise AnswerError(
            'Expected {"outputs": [{"name", "shape", "data"}]} in the answer.'
        ) from None


def _shaped(tensor: dict[str, Any]) -> Any:
    data, shape = tensor["data"], tensor["shape"]
    if not isinstance(data, list) or not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise TypeError
    if any(isinstance(item, list) for item in data):
        return data
    if not all(type(side) is int and side > 0 for side in shape) or math.prod(shape) != len(data):
        raise AnswerError(
            f"An output of the answer has {len(data)} entries, which do not fill its shape."
        )
    flat = np.empty(len(data), object)
    flat[:] = data
    return flat.reshape(shape).tolist()
