"""Notebooks as pages: their text, code and outputs as they are stored; nothing is run."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from traitlets.config import Config

_BADGE = re.compile(r"\[!\[Open in Colab\]\(.*?\)\]\((.*?)\)")  # its image is elsewhere
_SHOWN = ["image/png", "text/markdown", "text/plain"]
_ONLY_HTML = re.compile(r"^ +<IPython\.core\.display\.\w+ object>\n", re.MULTILINE)


def page_of(path: str) -> str:
    """The path of the page for a notebook."""
    return str(PurePosixPath(path).with_suffix(".md"))


def files_of(notebook: Path, path: str, config: MkDocsConfig) -> list[File]:
    """The page for a notebook and its pictures.

    Args:
        notebook: the file.
        path: its path in the site.
        config: of the site.
    """
    exporter = MarkdownExporter(config=Config(NbConvertBase={"display_data_priority": _SHOWN}))
    pictures = f"{PurePosixPath(path).stem}_files"
    text, resources = exporter.from_filename(
        str(notebook), {"output_files_dir": pictures, "unique_key": PurePosixPath(path).stem}
    )
    text = _BADGE.sub(r"[Open in Colab](\1)", _ONLY_HTML.sub("", text))
    made = [File.generated(config, page_of(path), content=text)]
    folder = PurePosixPath(path).parent
    for name, content in resources["outputs"].items():
        made.append(File.generated(config, str(folder / name), content=content))
    return made
