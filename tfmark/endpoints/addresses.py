"""Addresses of suspects: checked, and shown without what may be secret in them."""

from __future__ import annotations

import urllib3

from tfmark.errors import InvalidArgumentError


def check_url(url: str) -> tuple[str, str]:
    """Take an HTTP address apart.

    Returns:
        What stands before the query, without a slash at its end, and the query with its "?".

    Raises:
        InvalidArgumentError: if it is no such address, or has a name and password in it.
    """
    path, question_mark, query = url.partition("?")
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    if parts.auth is not None or ("@" in path and not parts.host):
        raise InvalidArgumentError(
            "Expected an address without a name and password. Pass them as a header: "
            "'Authorization: Basic ...'."
        )
    if parts.scheme not in ("http", "https") or not parts.host or "@" in path or parts.fragment:
        raise InvalidArgumentError(
            "Expected an address that begins with http:// or https:// and has no @ and no #, such "
            "as http://localhost:8501/v1/models/digits. "
            f"Received: {'one with an @' if '@' in path else show(url)}"
        )
    return path.rstrip("/"), question_mark + query


def show(url: str) -> str:
    """An address as it may be printed: without name, password and query."""
    scheme, separator, rest = url.partition("?")[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path
