"""The code blocks of pages in Markdown: which there are, and how each is run."""

from __future__ import annotations

import configparser
import doctest
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest import SkipTest

import yaml
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

from tests.gateways import NGINX
from tests.page_shell import Shell

FENCE = RawFencedCodeBlockLexer(re.compile(r"(?P<arguments>\S*)[^\n]*\n"))
HIDDEN = DirectiveInHTMLCommentLexer("invisible-code-block", r"\S+")
SKIPS = re.compile(r"<!--+ *skip: *(.*?) *--+>")


def run_page(path: Path, text: str, folder: Path, blocks: Path) -> list[str]:
    """Run all blocks of a page, in order.

    Args:
        path: the page, for messages.
        text: what stands in it.
        folder: where the blocks run; Python runs in the present folder.
        blocks: an empty folder for the shell.

    Returns:
        Why blocks were skipped.

    Raises:
        AssertionError: if a command fails, an output is another one than is shown, a file is none
            of its language, or a block is of none that is known here. Python raises what it raises.
    """
    for skip in SKIPS.findall(text):
        assert re.fullmatch(r'(start|next) ".+"|end', skip), f"{path}: no reason to skip: {skip}"
    shell = Shell(folder, blocks)
    evaluators = {
        "python": PythonEvaluator(),
        "sh": lambda block: _run(shell, block),
        "console": lambda block: _compare(shell, block),
        "text": lambda block: None,
        "json": lambda block: _read(json.loads, block),
        "yaml": lambda block: _read(lambda source: list(yaml.safe_load_all(source)), block),
        "ini": lambda block: _read(configparser.ConfigParser().read_string, block),
        "nginx": lambda block: _check_nginx(folder, block),
    }
    skipped = []
    try:
        for block in _parse(path, text, evaluators).examples():
            try:
                block.evaluate()
            except SkipTest as reason:
                skipped.append(str(reason))
    finally:
        shell.close()
    return skipped


def _parse(path: Path, text: str, evaluators: Mapping[str, Callable[[Example], None]]) -> Document:
    document = Document(text, str(path))

    def blocks() -> Iterator[Region]:
        for lexer in (FENCE, HIDDEN):
            for region in lexer(document):
                region.parsed = region.lexemes["source"]
                region.evaluator = evaluators.get(region.lexemes["arguments"], _unknown)
                yield region

    for region in [*blocks(), *SkipParser()(document)]:
        document.add(region)
    return document


def _unknown(block: Example) -> None:
    language = block.region.lexemes["arguments"]
    raise AssertionError(f"{_place(block)}: no way is known to run a block of {language!r}")


def _run(shell: Shell, block: Example) -> None:
    try:
        shell.run(block.parsed)
    except AssertionError as error:
        raise AssertionError(f"{_place(block)}: {error}") from None


def _compare(shell: Shell, block: Example) -> None:
    """Run each command and what continues it, and compare what it writes with what is shown."""
    problem = f"{_place(block)}: a console block begins with a command"
    assert block.parsed.startswith("$ "), problem
    for part in re.split(r"^\$ ", block.parsed, flags=re.MULTILINE)[1:]:
        command, expected = re.fullmatch(r"((?:.*\\\n)*.*\n)((?s:.*))", part).groups()
        try:
            written = shell.run(command)
        except AssertionError as error:
            raise AssertionError(f"{_place(block)}: {error}") from None
        same = doctest.OutputChecker().check_output(expected, written, doctest.ELLIPSIS)
        assert same, f"{_place(block)}: {command}expected:\n{expected}received:\n{written}"


def _read(read: Callable[[str], object], block: Example) -> None:
    try:
        read(block.parsed)
    except (ValueError, yaml.YAMLError, configparser.Error) as error:
        raise AssertionError(f"{_place(block)}: {error}") from None


def _check_nginx(folder: Path, block: Example) -> None:
    """Have nginx read a configuration, or the part of one that a page shows."""
    if NGINX is None:
        return
    text = block.parsed
    if not re.search(r"^\s*server\s*\{", text, re.MULTILINE):
        text = f"server {{ listen 127.0.0.1:1; {text} }}"
    if not re.search(r"^\s*http\s*\{", text, re.MULTILINE):
        text = f"events {{ }}\nhttp {{ {text} }}"
    config = folder / "nginx.conf"
    config.write_text(f"pid {folder}/nginx.pid;\n{text}")
    command = [NGINX, "-t", "-p", folder, "-c", config, "-e", folder / "error.log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{_place(block)}: {done.stderr}"


def _place(block: Example) -> str:
    return f"{block.path}:{block.line}"
