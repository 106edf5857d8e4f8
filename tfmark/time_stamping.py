"""Asks a time-stamping authority for a stamp, over HTTP (RFC 3161, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from tfmark.endpoints.addresses import check_url, show
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.http import HttpClient, Transport
from tfmark.errors import TimeStampError, UntrustedTimeStampError
from tfmark.time_stamps import (
    TimeStamp,
    check_time_stamp,
    read_time_stamp,
    system_certificates,
    time_stamp_request,
)

QUERY = "application/timestamp-query"


def ask_for_time_stamp(
    url: str,
    document: bytes,
    ca: Sequence[x509.Certificate] | None = None,
    connection: Connection | None = None,
    transport: Transport | None = None,
) -> tuple[bytes, TimeStamp]:
    """Have a document stamped, and check the stamp.

    The authority learns the SHA-256 of the document, not the document.

    Example:
    ```python
    response, stamp = ask_for_time_stamp("https://freetsa.org/tsr", key.public.document,
                                         load_certificates("cacert.pem"))
    ```

    Args:
        url: address of the authority.
        document: what is stamped.
        ca: certificates that are trusted, see `check_time_stamp`. Defaults to the system's.
        connection: credentials, certificates and patience for the way to the authority.
        transport: sends the request, for tests.

    Returns:
        The response (TimeStampResp in DER), which is the proof, and what it says.

    Raises:
        TimeStampError: if the answer is no time stamp, or does not hold.
        EndpointError: if the authority could not be asked.
        InvalidArgumentError: if `url` is no HTTP address.
    """
    check_url(url)
    connection = connection or Connection()
    request, nonce = time_stamp_request(document)
    with connection.redactor(url).errors():
        response = HttpClient(connection, transport).post(url, request, QUERY)
        try:
            read_time_stamp(response)
        except TimeStampError as error:
            raise TimeStampError(
                f"{show(url)} did not give a time stamp. {error} Is it the address of a "
                "time-stamping authority?"
            ) from None
        trusted = system_certificates() if ca is None else ca
        try:
            return response, check_time_stamp(response, document, trusted, nonce)
        except UntrustedTimeStampError as error:
            hint = (
                " The certificates of this system were taken; many authorities have a root of "
                "their own. Get it from them, and pass it as `ca` (--ca FILE.pem)."
            )
            raise UntrustedTimeStampError(f"{error}{hint if ca is None else ''}") from None
