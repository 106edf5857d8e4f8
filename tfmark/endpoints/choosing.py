"""`tfmark.endpoint_from`: the endpoint for an address or a file, told from it or by asking."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from tfmark.endpoints.addresses import check_url
from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.finding import find_service
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.kserve_v1 import KServeV1
from tfmark.endpoints.mlflow import PATH as INVOCATIONS
from tfmark.endpoints.mlflow import MLflow
from tfmark.endpoints.open_inference import OpenInference
from tfmark.endpoints.options import EndpointOptions, split_options
from tfmark.endpoints.service import Description, Service, Suspect
from tfmark.endpoints.tf_serving import TFServing
from tfmark.errors import AnswerError

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey

_HTTP: dict[str, Callable[[str, Dialect, HttpClient], Service]] = {
    "tf-serving": TFServing,
    "kserve-v1": KServeV1,
    "open-inference": OpenInference,
    "mlflow": MLflow,
}


def endpoint_from(
    address: str | os.PathLike[str],
    key: WatermarkKey | None = None,
    **options: Unpack[EndpointOptions],
) -> Endpoint:
    """Make an endpoint of an address or a file.

    Example:
    ```python
    >>> suspect = tfmark.endpoint_from("http://localhost:8501/v1/models/digits", timeout=5.0)
    >>> tfmark.verify(suspect, key).owned
    True
    ```

    Args:
        address: address of a model on TensorFlow Serving, KServe, Triton, MLServer or MLflow
            (`http://`, `https://`), of one over gRPC (`grpc://HOST:PORT/MODEL`, `grpcs://`), or the
            path of a `.keras`, `.tflite` or `.onnx` file or a SavedModel folder.
        key: the owner's key, of which the images' shape, the scale of pixels and the number of
            classes are taken. Defaults to `None`, for `verify`, which knows its key: by itself such
            an endpoint takes images of any shape, scales them to (0, 255) unless `value_range` says
            otherwise, and answers in the suspect's own numbering.
        **options: the attributes of `tfmark.endpoints.Dialect` (how to ask: `protocol`,
            `signature`, `pixels`, ...) and `tfmark.endpoints.Connection` (how to get there:
            `headers`, `ca_file`, `timeout` in seconds, ...).

    Returns:
        An `Endpoint`.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
        EndpointError: if the protocol cannot be told from the address, and asking does not help.
    """
    dialect, connection = split_options(dict(options))
    task = Task()
    if key is not None:
        task = Task(key.spec.image_shape, key.value_range, key.spec.num_classes)
    return suspect_at(address, task, dialect, connection)


def suspect_at(
    address: str | os.PathLike[str], task: Task, dialect: Dialect, connection: Connection
) -> Suspect:
    """The endpoint behind an address; see `endpoint_from`."""
    redactor = connection.redactor(os.fspath(address))
    with redactor.errors():
        service = service_from(address, dialect, connection)
        return Suspect(service, task, dialect, redactor, connection.max_time)


def service_from(
    address: str | os.PathLike[str], dialect: Dialect, connection: Connection
) -> Service:
    """The service behind an address. Asks only where the address leaves it open.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
        EndpointError: if asking does not help.
    """
    text = os.fspath(address)
    service = _told(text, dialect, connection)
    return service or find_service(text, dialect, HttpClient(connection))


def describe(
    address: str | os.PathLike[str], dialect: Dialect, connection: Connection
) -> tuple[Service, Description]:
    """The service behind an address, and what it says of itself.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
        EndpointError: if it says nothing.
    """
    service = service_from(address, dialect, connection)
    try:
        return service, service.describe()
    except AnswerError:
        if type(service) is not TFServing or dialect.protocol is not None:
            raise
        # KServe has the same addresses.
        service = KServeV1(os.fspath(address), dialect, HttpClient(connection))
        return service, service.describe()


def _told(text: str, dialect: Dialect, connection: Connection) -> Service | None:
    """The service that the caller or the address names."""
    protocol = dialect.protocol
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if protocol == "grpc" or (protocol is None and scheme in ("grpc", "grpcs")):
        from tfmark.endpoints.grpc_serving import TFServingGrpc

        return TFServingGrpc(text, dialect, connection)
    if protocol == "local" or (protocol is None and not scheme and _is_path(text)):
        from tfmark.endpoints.local import LocalModel

        return LocalModel(text, dialect)
    base, _ = check_url(text)
    client = HttpClient(connection)
    if protocol is not None:
        return _HTTP[protocol](text, dialect, client)
    if "/v2/models/" in base:
        return OpenInference(text, dialect, client)
    if base.endswith(INVOCATIONS):
        return MLflow(text, dialect, client)
    if "/v1/models/" in base or base.endswith((":predict", ":classify")):
        return TFServing(text, dialect, client)
    return None


def _is_path(text: str) -> bool:
    try:
        exists = Path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL in it
        exists = False
    return exists or text.endswith((".keras", ".tflite", ".onnx")) or text[:1] == "/"
