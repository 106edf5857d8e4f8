"""Brings files of the repository that a page links to, such as results and notebooks, into the site.

In the repository a page links to them by `../benchmarks/results/white_box.md`, which leaves the
folder of the documentation. The site has these files below its root under the same paths.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_LINK = re.compile(r"(\]\()(\.\./[^)#\s]*)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to outside of the folder."""
    root = Path(config.config_file_path).parent
    for page in files.documentation_pages():
        for _, link in _LINK.findall(page.content_string):
            path = _outside(link, page.src_uri)
            if path and (root / path).is_file() and path not in files.src_uris:
                files.append(File(path, str(root), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave the folder to where the site has those files."""

    def inside(found: re.Match[str]) -> str:
        path = _outside(found[2], page.file.src_uri)
        folder = posixpath.dirname(page.file.src_uri)
        return found[1] + (posixpath.relpath(path, folder or ".") if path else found[2])

    return _LINK.sub(inside, markdown)


def _outside(link: str, page: str) -> str:
    """The path in the repository of a link that leaves the folder of the documentation, else ""."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return "" if path.startswith(("docs/", "../")) else path
