"""KServe's V1 protocol: TensorFlow Serving's predict path, without the rest of its API."""

from __future__ import annotations

from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.json_answers import get_json
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import Signature
from tfmark.endpoints.tf_serving import TFServing
from tfmark.errors import AnswerError


class KServeV1(TFServing):
    """A model behind KServe's V1 protocol.

    Args:
        url: address of the model, such as http://localhost:8080/v1/models/digits.
        dialect: how it wants to be asked.
        client: sends the requests.

    Raises:
        InvalidArgumentError: if `url` is no such address.
    """

    def __init__(self, url: str, dialect: Dialect, client: HttpClient):
        dialect.refuse("KServe's V1 protocol", "signature", "version", "version_label")
        super().__init__(url, dialect, client)

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`: the protocol tells none."""
        return ()

    def describe(self) -> Description:
        """See `Service.describe`."""
        status = get_json(self._client, f"{self._model}{self._query}")
        if not (isinstance(status, dict) and "ready" in status):
            raise AnswerError("This is not KServe's status of a model.")
        return Description("kserve-v1")
