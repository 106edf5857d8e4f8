"""TensorFlow Serving's REST API: `POST .../v1/models/NAME:predict` or `:classify`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tfmark.endpoints.addresses import check_url
from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.image_input import ImageInput
from tfmark.endpoints.json_answers import by_output, get_json, loads
from tfmark.endpoints.row_requests import write_examples, write_request
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import Signature, TensorInfo
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError, RefusedError
from tfmark.pixels import Pixels

_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


class TFServing:
    """A model behind TensorFlow Serving's REST API.

    Args:
        url: address of the model, such as http://localhost:8501/v1/models/digits. What a gateway
            puts before it stays; `/versions/N`, `/labels/L`, `:predict` and `:classify` at its end
            are understood.
        dialect: how it wants to be asked. For `:classify`, `input` names the feature of the
            examples that holds the image.
        client: sends the requests.

    Raises:
        InvalidArgumentError: if `url` is no such address.
    """

    def __init__(self, url: str, dialect: Dialect, client: HttpClient):
        base, self._query = check_url(url)
        self._classifies = base.endswith(":classify")
        base = base.removesuffix(":classify").removesuffix(":predict").rstrip("/")
        if base.count("/") < 3:
            raise InvalidArgumentError(
                "Expected the address of a model, such as http://localhost:8501/v1/models/digits. "
                f"Received: {base}"
            )
        pinned = base.rpartition("/")[0].endswith(("/versions", "/labels"))
        if pinned and (dialect.version is not None or dialect.version_label is not None):
            raise InvalidArgumentError(
                "Expected a version in the address or as an option. Received both."
            )
        if self._classifies:
            dialect.refuse("`:classify`", "columns", "output")
        self._model = base
        self.address = base + (":classify" if self._classifies else "")
        if dialect.version is not None:
            base += f"/versions/{dialect.version}"
        elif dialect.version_label is not None:
            base += f"/labels/{quote(dialect.version_label, safe='')}"
        if self._classifies and dialect.input is None:
            raise InvalidArgumentError("For `:classify`, name the feature of images with `input`.")
        self._base = base
        self._verb = ":predict"
        self._dialect = dialect
        self._client = client

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`."""
        if self._classifies:
            return ()  # features of examples are not among the inputs
        # An answer matters here: a model may be asked in the wrong way without it.
        url = f"{self._base}/metadata{self._query}"
        return read_signatures(get_json(self._client, url, retries=2))

    def describe(self) -> Description:
        """See `Service.describe`."""
        status = get_json(self._client, f"{self._model}{self._query}")
        try:
            versions = tuple(
                str(entry["version"])
                for entry in status["model_version_status"]
                if entry["state"] == "AVAILABLE"
            )
        except (KeyError, TypeError):
            raise AnswerError("This is not TensorFlow Serving's status of a model.") from None
        try:
            signatures = self.signatures()
        except EndpointError:
            signatures = ()
        return Description("tf-serving", versions, signatures)

    def ask(self, images: Pixels, sent: ImageInput) -> Any:
        """See `Service.ask`."""
        signature, columns = self._dialect.signature, self._dialect.columns
        if self._classifies:
            body = write_examples(images, sent, signature)
            answer = loads(self._client.post(f"{self._base}:classify{self._query}", body))
            return _member(answer, "results")
        body = write_request(images, sent, signature, self._dialect.input is not None, columns)
        answer = loads(self._predict(body))
        if columns or not sent.batched:
            return _member(answer, "outputs", "predictions")
        return by_output(_member(answer, "predictions"))

    def _predict(self, body: bytes) -> bytes:
        try:
            return self._client.post(f"{self._base}{self._verb}{self._query}", body)
        except RefusedError as error:
            own = self._verb and "/v1/models/" not in self._base
            if not own or error.status not in (404, 405):
                raise
            self._verb = ""  # some gateways have an address of their own for predictions
            return self._predict(body)


def read_signatures(metadata: Any) -> tuple[Signature, ...]:
    """Read the answer of `/metadata`: the signatures, none if it is not such an answer."""
    try:
        found = metadata["metadata"]["signature_def"]["signature_def"]
        return tuple(
            Signature(name, _tensors(entry["inputs"]), _tensors(entry.get("outputs", {})))
            for name, entry in sorted(found.items())
            if not name.startswith("__")
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _tensors(tensors: dict[str, Any]) -> tuple[TensorInfo, ...]:
    return tuple(_tensor(name, tensor) for name, tensor in sorted(tensors.items()))


def _tensor(name: str, tensor: dict[str, Any]) -> TensorInfo:
    dtype = tensor["dtype"].removeprefix("DT_")
    shape = tensor["tensor_shape"]
    sides = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
    return TensorInfo(name, _DTYPES.get(dtype, dtype.lower()), sides)


def _member(answer: Any, *names: str) -> Any:
    """The first of these that is in an answer: KServe has "predictions" for columns as well."""
    members = [answer[name] for name in names if name in answer] if isinstance(answer, dict) else []
    if not members or not isinstance(members[0], list | dict):
        raise AnswerError(f'Expected {{"{names[0]}": ...}} in the answer.')
    return members[0]
