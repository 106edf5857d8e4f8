"""A real browser, Debian's Chromium without a window, that tells what a page does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("TFMARK_REQUIRE_CHROMIUM"),
    reason="no chromium command to load pages in",
)
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def browser() -> Iterator[Any]:
    """Run the browser, with a profile of its own, until the block ends."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "TFMARK_REQUIRE_CHROMIUM is set, but there is no chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield running
        running.close()


@dataclass
class Seen:
    """What a page did: asked the network for, wrote to the console, or opened."""

    page: Any
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@contextmanager
def opened(running: Any, html: str, folder: Path, **options: Any) -> Iterator[Seen]:
    """Open a page from a file; `options` are those of a browser's context."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    context = running.new_context(**options)
    page = context.new_page()
    seen = Seen(page)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.said.append(message.text))
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("dialog", lambda dialog: (seen.said.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    seen.requests = [url for url in seen.requests
                     if url != file.as_uri() and not url.startswith("data:")]  # fmt: skip
    yield seen
    context.close()
