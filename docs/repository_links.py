"""Brings files of the repository that pages link to, such as results and notebooks, into the site.

In the repository a page links to them by `../benchmarks/results/white_box.md`, which leaves the
folder of the documentation. The site has these files below its root under the same paths, notebooks
as pages, and the README's place is taken by the home page.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebooks import files_of, page_of

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^()#\s]+)(#[^()\s]*)?(?=\))")
_DOCS = "docs/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of the folder that pages link to, and those that these link to."""
    root = Path(config.config_file_path).parent
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        for link, _ in _LINK.findall(page.content_string):
            path = _repository_path(page, link)
            if (root / path).is_file() and _site_path(path) not in files.src_uris:
                for added in _files(root, path, config):
                    files.append(added)
                    pages += [added] * added.is_documentation_page()
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the site has the files."""

    def lead(found: re.Match[str]) -> str:
        path = _site_path(_repository_path(page.file, found[1]))
        anchor = found[2] or ""
        if path == "README.md":
            path, anchor = "index.md", ""
        return relpath(path, PurePosixPath(page.file.src_uri).parent) + anchor

    return _LINK.sub(lead, markdown)


def _files(root: Path, path: str, config: MkDocsConfig) -> list[File]:
    if path.endswith(".ipynb"):
        return files_of(root / path, path, config)
    return [File(path, str(root), config.site_dir, config.use_directory_urls)]


def _repository_path(page: File, link: str) -> str:
    """What a page links to, as seen from the top of the repository."""
    inside = page.src_dir is not None and Path(page.src_dir).name == "docs"
    folder = PurePosixPath(_DOCS if inside else "") / PurePosixPath(page.src_uri).parent
    return normpath(folder / link)


def _site_path(path: str) -> str:
    """Where the site has a file of the repository; `docs/` is its root."""
    path = path.removeprefix(_DOCS)
    return page_of(path) if path.endswith(".ipynb") else path
