"""Which service is behind an address that does not tell: found by asking."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
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


Guess = Callable[[], Service]


def find_service(url: str, dialect: Dialect, client: HttpClient) -> Service:
    """The first of all protocols that answers at an address or below it.

    Raises:
        EndpointError: if there is no answer, or there are several models to choose from.
    """
    base, query = check_url(url)
    for path in ("/models", "/v1", "/v2"):
        base = base.removesuffix(path)
    answered = False
    for guess in _guesses(base, query, dialect, client):
        try:
            service = guess()
            service.describe()
        except InvalidArgumentError:
            continue  # the protocol has nothing for what the caller wants
        except UnreachableError:
            if not answered:
                raise
        except EndpointError:
            answered = True
        else:
            return service
    if base.count("/") > 2:
        # Some gateways let predictions through and nothing else.
        return TFServing(url, dialect, client)
    raise EndpointError(
        f"{show(base)} does not say which models it has. Expected the address of a model, such as "
        f"{show(base)}/v1/models/NAME or, on Triton, {show(base)}/v2/models/NAME."
    )


def _guesses(base: str, query: str, dialect: Dialect, client: HttpClient) -> Iterator[Guess]:
    if base.count("/") > 2:
        yield partial(TFServing, base + query, dialect, client)
        yield partial(KServeV1, base + query, dialect, client)
    for path, protocol in (("/v2/models", OpenInference), ("/v1/models", KServeV1)):
        name = _only_model(base, path, query, client)
        if name is not None:
            yield partial(protocol, f"{base}{path}/{name}{query}", dialect, client)
    yield partial(MLflow, base + query, dialect, client)


def _only_model(base: str, path: str, query: str, client: HttpClient) -> str | None:
    """The name of the only model that a server lists.

    Raises:
        EndpointError: if there are several.
    """
    names: set[str] = set()
    for list_models in (_list, _index) if path.startswith("/v2") else (_list,):
        with contextlib.suppress(EndpointError, KeyError, TypeError):
            names |= {name for name in list_models(base, path, query, client) if _is_name(name)}
    if len(names) > 1:
        some = [quote(name[:60], safe="") for name in sorted(names)[:10]]
        raise EndpointError(
            f"{show(base)} has several models. Expected the address of one, such as "
            + ", ".join(f"{show(base)}{path}/{name}" for name in some)
        )
    return quote(names.pop(), safe="") if names else None


def _list(base: str, path: str, query: str, client: HttpClient) -> list[Any]:
    names = get_json(client, f"{base}{path}{query}")["models"]
    return names if isinstance(names, list) else []


def _index(base: str, path: str, query: str, client: HttpClient) -> list[Any]:
    entries = loads(client.post(f"{base}{INDEX}{query}", b"{}"))
    return [entry["name"] for entry in entries]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) < 1000 and name.isprintable()
