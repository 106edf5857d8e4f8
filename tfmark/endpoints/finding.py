"""Which service is behind an address that does not tell: found by asking."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tfmark.endpoints.addresses import check_url, show
from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.json_answers import get_json, loads
from tfmark.endpoints.kserve_v1 import KServeV1
from tfmark.endpoints.mlflow import MLflow
from tfmark.endpoints.open_inference import OpenInference
from tfmark.endpoints.service import Service
from tfmark.endpoints.tf_serving import TFServing
from tfmark.errors import EndpointError, InvalidArgumentError, UnreachableError

INDEX = "/v2/repository/index"


def find_service(url: str, dialect: Dialect, client: HttpClient) -> Service:
    """The first of all protocols that answers at an address or below it.

    Raises:
        InvalidArgumentError: if there are several models to choose from.
        EndpointError: if there is no answer.
    """
    base, query = check_url(url)
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
        return TFServing(url, dialect, client)
    raise EndpointError(
        f"{show(base)} does not say which models it has. Expected the address of a model, such as "
        f"{show(base)}/v1/models/NAME."
    )


def _guesses(base: str, query: str, dialect: Dialect, client: HttpClient) -> Iterator[Service]:
    if base.count("/") > 2:
        yield from (make(base + query, dialect, client) for make in (TFServing, KServeV1))
    for name in _listed(base, "/v2/models", query, client):
        yield OpenInference(f"{base}/v2/models/{name}{query}", dialect, client)
    for name in _listed(base, "/v1/models", query, client):
        yield KServeV1(f"{base}/v1/models/{name}{query}", dialect, client)
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
