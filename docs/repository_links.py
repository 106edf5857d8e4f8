"""Brings files of the repository that pages link to, such as results and notebooks, into the site.

In the repository a page links to them by `../benchmarks/results/white_box.md`, which leaves the
folder of the documentation. The site has these files below its root under the same paths, and the
README's place is taken by the home page.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^()#\s]+)(#[^()\s]*)?(?=\))")
_DOCS = "docs/"


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of the folder that pages link to, and those that these link to."""
    root = Path(config.config_file_path).parent
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        for link, _ in _LINK.findall(page.content_string):
            path = _site_path(page, link)
            if (root / path).is_file() and path not in files.src_uris:
                added = File(path, str(root), config.site_dir, config.use_directory_urls)
                files.append(added)
                pages += [added] * added.is_documentation_page()
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the site has the files."""

    def lead(found: re.Match[str]) -> str:
        path = _site_path(page.file, found[1])
        anchor = found[2] or ""
        if path == "README.md":
            path, anchor = "index.md", ""
        return relpath(path, PurePosixPath(page.file.src_uri).parent) + anchor

    return _LINK.sub(lead, markdown)


def _site_path(page: File, link: str) -> str:
    """Where the site has what a page links to: as in the repository, but `docs/` is its root."""
    inside = page.src_dir is not None and Path(page.src_dir).name == "docs"
    folder = PurePosixPath(_DOCS if inside else "") / PurePosixPath(page.src_uri).parent
    return normpath(folder / link).removeprefix(_DOCS)
