"""`tfmark.endpoint_from`: the endpoint for an address or a file, told from it or by asking."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from urllib.parse import quote

from tfmark.endpoints.addresses import check_url, show
from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.connection import Connection, FilePath
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.json_answers import get_json, loads
from tfmark.endpoints.kserve_v1 import KServeV1
from tfmark.endpoints.mlflow import PATH as INVOCATIONS
from tfmark.endpoints.mlflow import MLflow
from tfmark.endpoints.open_inference import OpenInference
from tfmark.endpoints.service import Description, Service, Suspect
from tfmark.endpoints.tf_serving import TFServing
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfmark.key import WatermarkKey
    from tfmark.pixels import ValueRange

_HTTP: dict[str, Callable[[str, Dialect, HttpClient], Service]] = {
    "tf-serving": TFServing,
    "kserve-v1": KServeV1,
    "open-inference": OpenInference,
    "mlflow": MLflow,
}
PROTOCOLS = (*_HTTP, "grpc", "local")
INDEX = "/v2/repository/index"


class EndpointOptions(TypedDict, total=False):
    """The keywords of `endpoint_from`: the attributes of `Dialect` and of `Connection`."""

    protocol: str | None
    signature: str | None
    version: int | None
    version_label: str | None
    input: str | None
    output: str | None
    pixels: str | None
    value_range: ValueRange | None
    columns: bool
    batch_size: int | None
    class_names: Sequence[str] | None
    headers: Mapping[str, str]
    auth: tuple[str, str] | None
    ca_file: FilePath | None
    cert_file: FilePath | None
    key_file: FilePath | None
    timeout: float
    retries: int
    delay: float
    max_time: float


def endpoint_from(
    address: str | os.PathLike[str], key: WatermarkKey, **options: Unpack[EndpointOptions]
) -> Endpoint:
    """Make an endpoint of an address or a file.

    Example:
    ```python
    suspect = tfmark.endpoint_from("http://localhost:8000/v2/models/digits", key, timeout=5.0)
    verdict = tfmark.verify(suspect, key)
    ```

    Args:
        address: address of a model on TensorFlow Serving, KServe, Triton, MLServer or MLflow
            (`http://`, `https://`), of one over gRPC (`grpc://HOST:PORT/MODEL`, `grpcs://`), or the
            path of a `.keras`, `.tflite` or `.onnx` file or a SavedModel folder.
        key: the owner's key, of which the images' shape, the scale of pixels and the number of
            classes are taken.
        **options: the attributes of `tfmark.endpoints.Dialect` and `tfmark.endpoints.Connection`.

    Returns:
        An `Endpoint`.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
        EndpointError: if the protocol cannot be told from the address, and asking does not help.
    """
    dialect, connection = split_options(dict(options))
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


def split_options(options: dict[str, Any]) -> tuple[Dialect, Connection]:
    """Sort keywords into what to say and how to get there.

    Raises:
        InvalidArgumentError: if one is neither, or its value cannot work.
    """
    known = EndpointOptions.__annotations__
    if strange := options.keys() - known:
        raise InvalidArgumentError(
            f"Expected options out of {sorted(known)}. Received: {sorted(strange)}"
        )
    said = {field.name for field in dataclasses.fields(Dialect)}
    return (
        Dialect(**{name: value for name, value in options.items() if name in said}),
        Connection(**{name: value for name, value in options.items() if name not in said}),
    )


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
    return _answering(text, dialect, connection) if service is None else service


def describe(
    address: str | os.PathLike[str], dialect: Dialect, connection: Connection
) -> tuple[Service, Description]:
    """The service behind an address, and what it says of itself.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
        EndpointError: if it says nothing.
    """
    text = os.fspath(address)
    service = _told(text, dialect, connection)
    if service is None:
        service = _answering(text, dialect, connection)
    try:
        return service, service.describe()
    except AnswerError:
        if type(service) is not TFServing or dialect.protocol is not None:
            raise
        # KServe has the same addresses.
        service = KServeV1(text, dialect, HttpClient(connection))
        return service, service.describe()


def _told(text: str, dialect: Dialect, connection: Connection) -> Service | None:
    """The service that the caller or the address names."""
    protocol = dialect.protocol
    if protocol not in (None, *PROTOCOLS):
        raise InvalidArgumentError(
            "Invalid value for argument `protocol`. Expected one of "
            f"{PROTOCOLS}. Received: protocol={protocol!r}"
        )
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
    return Path(text).exists() or text.endswith((".keras", ".tflite", ".onnx")) or text[:1] == "/"


def _answering(text: str, dialect: Dialect, connection: Connection) -> Service:
    """The first of all protocols that answers at an address or below it."""
    base, query = check_url(text)
    client = HttpClient(connection)
    for service in _guesses(base, query, dialect, client):
        try:
            service.describe()
        except UnreachableError:
            raise
        except EndpointError:
            continue
        return service
    if base.count("/") > 2:
        # Some gateways let predictions through and nothing else.
        return TFServing(text, dialect, client)
    raise EndpointError(
        f"{show(base)} does not say which models it has. Expected the address of a model, such as "
        f"{show(base)}/v1/models/NAME."
    )


def _guesses(base: str, query: str, dialect: Dialect, client: HttpClient) -> Iterator[Service]:
    if base.count("/") > 2:
        yield from (make(base + query, dialect, client) for make in (TFServing, KServeV1))
    for path, protocol in (("/v2/models", "open-inference"), ("/v1/models", "kserve-v1")):
        for name in _listed(base, path, query, client):
            yield _HTTP[protocol](f"{base}{path}/{name}{query}", dialect, client)
    yield MLflow(base + query, dialect, client)


def _list(base: str, path: str, query: str, client: HttpClient) -> list[str]:
    return list(map(str, get_json(client, f"{base}{path}{query}")["models"]))


def _index(base: str, path: str, query: str, client: HttpClient) -> list[str]:
    entries = loads(client.post(f"{base}{INDEX}{query}", b"{}"))
    return [str(entry["name"]) for entry in entries]


def _listed(base: str, path: str, query: str, client: HttpClient) -> list[str]:
    """The name of the only model that a server lists.

    Raises:
        UnreachableError: if there is no answer.
        InvalidArgumentError: if there are several to choose from.
    """
    names: set[str] = set()
    for list_models in (_list, _index) if path.startswith("/v2") else (_list,):
        try:
            names |= set(list_models(base, path, query, client))
        except UnreachableError:
            raise
        except (EndpointError, KeyError, TypeError):
            continue
    if len(names) > 1:
        raise InvalidArgumentError(
            f"{show(base)} has several models. Expected the address of one, such as "
            + ", ".join(f"{show(base)}{path}/{quote(name[:60])}" for name in sorted(names)[:10])
        )
    return [quote(name, safe="") for name in names]
