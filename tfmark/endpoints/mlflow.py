"""MLflow's scoring server, and other services that take `POST .../invocations`."""

from __future__ import annotations

from typing import Any

from tfmark.endpoints.addresses import check_url
from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.http import HttpClient
from tfmark.endpoints.image_input import ImageInput
from tfmark.endpoints.json_answers import by_output, loads
from tfmark.endpoints.row_requests import write_request
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import Signature
from tfmark.errors import AnswerError
from tfmark.pixels import Pixels

PATH = "/invocations"


class MLflow:
    """A model behind MLflow's scoring protocol.

    Args:
        url: address of the server, such as http://localhost:5000, with or without `/invocations`.
        dialect: how it wants to be asked.
        client: sends the requests.

    Raises:
        InvalidArgumentError: if `url` is no HTTP address, or an option means nothing here.
    """

    def __init__(self, url: str, dialect: Dialect, client: HttpClient):
        dialect.refuse("MLflow's protocol", "signature", "version", "version_label")
        base, self._query = check_url(url)
        self._base = base.removesuffix(PATH).rstrip("/")
        self.address = self._base + PATH
        self._dialect = dialect
        self._client = client

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`: the protocol tells none."""
        return ()

    def describe(self) -> Description:
        """See `Service.describe`."""
        version = self._client.get(f"{self._base}/version{self._query}", retries=0)
        if not version[:1].isdigit() or len(version) > 40:
            raise AnswerError("This is not MLflow's version.")
        return Description("mlflow")

    def ask(self, images: Pixels, sent: ImageInput) -> Any:
        """See `Service.ask`."""
        columns, named = self._dialect.columns, self._dialect.input is not None
        body = write_request(images, sent, None, named, columns)
        answer = loads(self._client.post(f"{self._base}{PATH}{self._query}", body))
        predictions = answer.get("predictions") if isinstance(answer, dict) else answer
        if not isinstance(predictions, list | dict):
            raise AnswerError('Expected {"predictions": ...} in the answer.')
        return by_output(predictions)
