"""TensorFlow Serving's gRPC API: `grpc://HOST:PORT/MODEL`, and `grpcs://` for TLS."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.image_input import ImageInput
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import Signature, choose_signature
from tfmark.endpoints.tensor_protos import (
    read_tensor,
    tensor_info,
    write_numbers,
    write_strings,
)
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, RefusedError
from tfmark.pixels import Pixels

_ADDRESS = re.compile(
    r"(?P<scheme>grpcs?)://(?P<server>([\w.-]+|\[[0-9a-f:.]+\]):[0-9]{1,5})/(?P<model>[^/:?#@\s]+)",
    re.ASCII | re.IGNORECASE,
)
_PREDICTION = "/tensorflow.serving.PredictionService/"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class TFServingGrpc:
    """A model behind TensorFlow Serving's gRPC API.

    Args:
        address: such as grpc://localhost:8500/digits.
        dialect: how it wants to be asked.
        connection: credentials, certificates, time-outs.

    Attributes:
        address: as given.

    Raises:
        InvalidArgumentError: if `address` is none, or an option cannot work here.
        ModuleNotFoundError: if what speaks gRPC is not installed.
    """

    def __init__(self, address: str, dialect: Dialect, connection: Connection):
        dialect.refuse("gRPC", "columns")
        secure, server, self._model = _parts(address)
        # What gRPC prints about connections is in the errors as well.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            from tfmark.endpoints.grpc_client import GrpcClient  # isort: skip  the faster one

            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                get_model_status_pb2,
                predict_pb2,
            )
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"Asking over gRPC needs {error.name}: pip install 'tfmark[grpc]'", name=error.name
            ) from None
        self._metadata, self._status = get_model_metadata_pb2, get_model_status_pb2
        self._predict = predict_pb2
        self.address = address
        self._dialect = dialect
        self._client = GrpcClient(server, secure, connection)

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`."""
        request = self._metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._specify(request.model_spec)
        answer = self._call(
            f"{_PREDICTION}GetModelMetadata", request, self._metadata.GetModelMetadataResponse
        )
        found = self._metadata.SignatureDefMap()
        packed = answer.metadata["signature_def"]
        if not packed.Is(found.DESCRIPTOR):
            return ()
        _parse(found, packed.value)
        return tuple(
            Signature(name, _tensors(signature.inputs), _tensors(signature.outputs))
            for name, signature in sorted(found.signature_def.items())
            if not name.startswith("__")
        )

    def describe(self) -> Description:
        """See `Service.describe`."""
        request = self._status.GetModelStatusRequest()
        request.model_spec.name = self._model
        answer = self._call(_STATUS, request, self._status.GetModelStatusResponse)
        available = self._status.ModelVersionStatus.AVAILABLE
        versions = tuple(
            str(status.version)
            for status in answer.model_version_status
            if status.state == available
        )
        try:
            signatures = self.signatures()
        except EndpointError:
            signatures = ()
        return Description("grpc", versions, signatures)

    def ask(self, images: Pixels, sent: ImageInput) -> Any:
        """See `Service.ask`."""
        request = self._predict.PredictRequest()
        self._specify(request.model_spec)
        if self._dialect.signature is not None:
            request.model_spec.signature_name = self._dialect.signature
        if self._dialect.output is not None:
            request.output_filter.append(self._dialect.output)
        tensor = request.inputs[sent.name or self._input_name()]
        if sent.is_file:
            write_strings(tensor, sent.files(images), (len(images), *sent.shape))
        else:
            write_numbers(tensor, sent.array(images), sent.dtype)
        answer = self._call(
            f"{_PREDICTION}Predict", request, self._predict.PredictResponse, retried=True
        )
        if not answer.outputs:
            raise AnswerError("The answer has no outputs.")
        return {name: read_tensor(output) for name, output in answer.outputs.items()}

    def _specify(self, spec: Any) -> None:
        spec.name = self._model
        if self._dialect.version is not None:
            spec.version.value = self._dialect.version
        elif self._dialect.version_label is not None:
            spec.version_label = self._dialect.version_label

    def _input_name(self) -> str:
        try:
            signatures = self.signatures()
        except RefusedError as error:
            raise AnswerError(
                f"Name the input with `input`: the server does not tell its name. {error}"
            ) from None
        return choose_signature(signatures, self._dialect.signature).image(None).name

    def _call(self, method: str, request: Any, response: Any, retried: bool = False) -> Any:
        message = self._client.call(
            method, request.SerializeToString(), retries=None if retried else 0
        )
        return _parse(response(), message)


def _parts(address: str) -> tuple[bool, str, str]:
    """Whether it is for TLS, host and port, name of the model."""
    match = _ADDRESS.fullmatch(address)
    model = unquote(match["model"]) if match else ""
    if match is None or not model.isprintable() or {*model} & {*"/:"}:
        shown = "one with an @" if "@" in address else re.split("[?#]", address)[0]
        raise InvalidArgumentError(
            "Expected an address such as grpc://localhost:8500/digits, or grpcs://... for TLS, of "
            f"host, port and name of the model alone. Received: {shown}"
        )
    return match["scheme"].lower() == "grpcs", match["server"], model


def _tensors(infos: Any) -> tuple[Any, ...]:
    return tuple(tensor_info(name, info) for name, info in sorted(infos.items()))


def _parse(message: Any, content: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError:
        raise AnswerError("The answer is not TensorFlow Serving's.") from None
    return message
