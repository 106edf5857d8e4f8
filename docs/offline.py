"""Ends the build if a page would load something from elsewhere: the site is read offline, too."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

_TAG = r"<(?:script|img|link|iframe|source)\b[^>]*?"
_LOADED = re.compile(_TAG + r"(?:src|href)=\"(?:https?:)?//[^\"]*\"")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Look at what a page loads."""
    if found := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output
