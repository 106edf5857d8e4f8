"""What the README and the pages of docs/ show is run, as a reader would run it.

Python blocks share a namespace, commands a shell, and both a scratch folder, from the first block
of a page to the last. What a page takes for granted is prepared by blocks that readers do not see:
`<!-- invisible-code-block: python` or `sh`, up to `-->`. A page with `<!-- slow -->` in it is run
with `-m slow`. `<!-- skip: next "reason" -->` is for what needs a cluster, an account or root.
"""

import argparse
import ast
import re
import runpy
import shlex
import sys

import pytest

from tests.http_server import Reply, free_port, http_server
from tests.page_shell import ROOT
from tests.pages import run_page
from tests.time_stamp_authority import make_authority, needs_openssl

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.joinpath("docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
AUTHORITY = "https://freetsa.org"
BENCHMARK = re.compile(r"python (benchmarks/(?:[^`#|&\\\n]|\\\n)+)")


def marks(text):
    slow = [pytest.mark.slow] if "<!-- slow -->" in text else []
    return slow + ([needs_openssl] if AUTHORITY + "/tsr" in text else [])


@pytest.fixture(scope="module")
def time_stamps(tmp_path_factory):
    """The address of an authority that stands in for FreeTSA; it offers its root as that does."""
    authority = make_authority(tmp_path_factory.mktemp("time") / "stamps")

    def answer(request):
        if request.path == "/files/cacert.pem":
            return Reply(authority.ca_file.read_bytes())
        typed = {"Content-Type": "application/timestamp-reply"}
        return Reply(authority.reply(request.body), headers=typed)

    with http_server(answer) as server:
        yield server.url


@pytest.fixture
def stand_ins(request):
    """What a page names, and what stands for it here."""

    def replace(text):
        if AUTHORITY in text:
            text = text.replace(AUTHORITY, request.getfixturevalue("time_stamps"))
        port = str(free_port())
        text = text.replace("https://suspect.example", "http://localhost:8501")
        return re.sub(r"\b8501\b", port, text)

    return replace


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a page in a scratch folder."""
    scratch, blocks = tmp_path / "scratch", tmp_path / "blocks"
    scratch.mkdir()
    blocks.mkdir()
    monkeypatch.chdir(scratch)
    return lambda text, path=ROOT / "page.md": run_page(path, text, scratch, blocks)


@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=marks(text)) for name, text in TEXTS.items()]
)
def test_every_block_of_a_page_runs(page, run, stand_ins):
    run(stand_ins(TEXTS[page]), ROOT / page)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("```sh\ntrue\nfalse\ntrue\n```", "failed in line 2"),
        ("```sh\nfalse | true\n```", "failed in line 1"),
        ("```sh\necho $unset\n```", "unbound variable"),
        ("```console\n$ echo one; echo two\none\n```", "received:\none\ntwo"),
        ("```console\n$ echo one\none\n$ exit 3\n```", "a command failed"),
        ("```console\necho one\n```", "begins with a command"),
        ("```ruby\nputs 1\n```", "'ruby'"),
        ("```\nwhat is this\n```", "''"),
        ("1. Indented:\n\n    ```sh\n    exit 4\n    ```\n", "page.md:3: a command failed"),
        ("```json\n{'a': 1}\n```", "page.md:1"),
        ("```yaml\na: [1\n```", "page.md:1"),
        ("```ini\na = 1\n```", "no section headers"),
        ('```python title="a"\nassert 1 == 2, "no"\n```', "no"),
        ("<!-- invisible-code-block: sh\nexit 5\n-->", "a command failed"),
        ("<!-- skip: next -->\n```sh\nfalse\n```", "no reason to skip"),
    ],
)
def test_what_is_wrong_on_a_page_fails(page, problem, run):
    with pytest.raises(AssertionError, match=re.escape(problem)):
        run(page)


def test_a_warning_fails(run):
    with pytest.raises(UserWarning, match="careful"):
        run("```python\nimport warnings\nwarnings.warn('careful')\n```")


def test_blocks_share_a_folder_a_shell_and_a_namespace(run, capfd):
    skipped = run(
        "<!-- invisible-code-block: python\nfrom pathlib import Path\nseen = 'a'\n-->\n"
        "```sh\nname=two\necho one > one.txt\nsleep 100 &\n```\n"
        "```python\nassert Path('one.txt').read_text() == 'one\\n' and seen == 'a'\n```\n"
        "```console\n$ echo $name \\\n>   and three\ntwo and ...\n$ cat one.txt\none\n```\n"
        '<!-- skip: next "it needs a cluster" -->\n```sh\nfalse\n```\n'.replace("\n>   ", "\n  ")
    )
    assert skipped == ["it needs a cluster"]


BENCHMARKS = sorted(
    {
        shlex.join(shlex.split(found, comments=True))
        for text in TEXTS.values()
        for found in BENCHMARK.findall(text)
    }
)


@pytest.mark.parametrize("command", BENCHMARKS)
def test_benchmarks_take_what_pages_say(command, monkeypatch):
    """They are not run: each is sent home as soon as its arguments are read."""
    script, *arguments = shlex.split(command)
    parse = argparse.ArgumentParser.parse_args

    class ReadError(Exception):
        pass

    def read_and_end(parser, *_):
        parse(parser, arguments)
        raise ReadError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read_and_end)
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), str(ROOT), *sys.path])
    with pytest.raises(ReadError):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def said_by_tfmark():
    """All texts in the source of tfmark, with `...` for what is filled in."""
    for file in ROOT.joinpath("tfmark").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant):
                yield str(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "") for part in node.values)
                yield "".join(part if isinstance(part, str) else "..." for part in parts)


def test_messages_that_the_readme_explains_are_those_of_tfmark():
    faq = TEXTS["README.md"].partition("## FAQ")[2].partition("\n## ")[0]
    quoted = re.findall(r"``(.+?)``", faq)
    texts = list(said_by_tfmark())
    assert len(quoted) > 5
    assert [quote for quote in quoted if not any(quote in text for text in texts)] == []


@pytest.mark.parametrize("page", TEXTS)
def test_links_of_a_page_lead_to_files(page):
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", TEXTS[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_two_commands_of_the_readme_are_the_ones_that_ci_runs():
    """They install tfmark, so they are skipped here; .ci/run takes lines that begin so."""
    assert len(re.findall(r"^pip install -e", TEXTS["README.md"], re.MULTILINE)) == 2


def test_accusations_in_the_readme_are_those_that_were_measured():
    results = ROOT.joinpath("benchmarks/results/README.md").read_text("utf-8")
    rows = re.findall(r"^\| ordinary \| ([\d.]+) \| (\d+) \| 10000 \|", results, re.M)
    measured = {alpha: int(count) for alpha, count in rows}
    said = re.search(
        r"gave (\d+) accusations in 10,000 at\s+alpha = 0.01, and (\d+) at 0.0001",
        TEXTS["README.md"],
    )
    assert int(said[1]) == measured["0.01"]
    assert int(said[2]) == measured["0.0001"]
