"""The notebooks run from top to bottom, offline and in small, and are committed with outputs."""

import functools
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/tfmark/tfmark/blob/main/"
BADGE = re.compile(r"\[!\[Open in Colab\]\(https://colab\.[\w./-]+\.svg\)\]\((\S+)\)")
HOSTS = {
    "colab.research.google.com",
    "freetsa.org",
    "github.com",
    "storage.googleapis.com",  # where TensorFlow Serving's packages and MNIST are
    "127.0.0.1",
    "localhost",
}
LOCAL = re.compile(r"/(home|root|tmp|Users|mnt|content|work)/|site-packages|[A-Z]:\\\\")
NOISE = re.compile(r"warning|traceback|deprecat|https?://pypi|index-url", re.IGNORECASE)
LARGEST = 1_500_000  # bytes

# The kernel reaches this machine alone, whatever network there is.
OFFLINE = """
import socket

connect = socket.socket.connect

def on_this_machine(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
        raise ConnectionRefusedError("The tests are offline.")
    return connect(self, address)

socket.socket.connect = on_this_machine
"""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@functools.cache
def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """What a cell put out, apart from pictures."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield re.sub(r"data:image/\w+;base64,[\w+/=]+", "", content)


def said(notebook, source):
    """What the cell with some source text put out."""
    (cell,) = [cell for cell in code_cells(notebook) if source in cell.source]
    return "".join(texts(cell))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Execute a notebook in small, without a network and without data sets that lie around."""
    monkeypatch.syspath_prepend(str(ROOT / "colab"))
    from execute import execute

    def run(name):
        return execute(
            ROOT / "colab" / name, OFFLINE,
            TFMARK_NOTEBOOK_SMALL="1", TFDS_DATA_DIR=str(tmp_path / "no data sets"),
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_the_tutorial_runs_and_shows_what_it_says(run):
    notebook = run("tfmark_tutorial.ipynb")
    assert "digits of scikit-learn instead of MNIST" in said(notebook, "datasets.load")
    assert "no time stamp" in said(notebook, "freetsa.org")
    assert said(notebook, 'verify(server.url("digits")').startswith("owned\n")
    assert said(notebook, 'verify(server.url("somebody_elses")').startswith("not shown\n")
    assert said(notebook, "thief.urls.items()").split() == [
        "fine_tuned:", "owned", "fine_tuned_and_pruned:", "owned"
    ]  # fmt: skip
    assert said(notebook, 'evidence="evidence.zip"').startswith("owned, 11 questions")
    audit = said(notebook, "audit = ")
    assert "refused" not in audit
    assert "The evidence holds. It is no proof: no trusted authority" in audit
    assert "Refused at the step 'file'" in said(notebook, "forged")
    assert "ACME Ltd, London" in said(notebook, "srcdoc")


@pytest.mark.slow
def test_ones_own_model_is_verified_however_it_was_trained(run):
    notebook = run("bring_your_own_model.ipynb")
    assert "digits of scikit-learn instead of CIFAR-10" in said(notebook, "datasets.load")
    assert "no ImageNet weights" in said(notebook, "create_connection")
    assert re.search(r"compute in b?float16\n", said(notebook, "set_dtype_policy"))
    assert said(notebook, "MirroredStrategy").startswith("2 devices")
    lines = said(notebook, "verdicts[name]").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["plain", "owned"], ["mixed_precision", "owned"], ["several_devices", "owned"],
        ["innocent", "not"],
    ]  # fmt: skip


@pytest.mark.slow
def test_the_paper_is_reproduced_in_small(run):
    notebook = run("reproduce_the_paper.ipynb")
    assert "digits of scikit-learn instead of mnist" in said(notebook, "datasets.load")
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", said(notebook, '"clean": (99.28,)'), re.MULTILINE)
    ours = {name: [float(x) for x in re.findall(r"([\d.]+) /", row)] for name, row in rows}
    assert ours.pop("clean")[0] > 80
    assert set(ours) == {"content", "unrelated", "noise"}
    for test, trained, new in ours.values():
        assert test > 80
        assert trained > 90
        assert new > 80
    assert said(notebook, "verify(probe, key)").startswith("not shown\n")


@each
def test_it_is_committed_as_it_was_executed(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = [kind for cell in cells for o in cell.outputs for kind in o.get("data", {})]
    assert kinds.count("image/png") >= 3
    assert path.stat().st_size < LARGEST


@each
def test_no_output_is_an_error_a_warning_or_noise(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
        for text in texts(cell):
            assert not NOISE.search(text), text
            assert "\b" not in text  # a progress bar moves back
            assert "\r" not in text


@each
def test_it_names_no_place_of_the_machine_it_ran_on(path):
    notebook = read(path)
    content = [cell.source for cell in notebook.cells]
    content += [text for cell in code_cells(notebook) for text in texts(cell)]
    for text in content:
        assert not LOCAL.search(text), text
        hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[^\s\"'<>)]+", text)}
        assert hosts <= HOSTS
    assert set(notebook.metadata) == {"colab", "kernelspec", "language_info"}
    assert not any(cell.metadata for cell in notebook.cells)


@each
def test_it_opens_in_colab(path):
    first = read(path).cells[0].source
    assert BADGE.match(first).group(1) == f"{COLAB}colab/{path.name}"


def test_the_readme_opens_the_tutorial():
    badges = BADGE.findall((ROOT / "README.md").read_text())
    assert f"{COLAB}colab/tfmark_tutorial.ipynb" in badges
    for url in badges:
        assert url.startswith(COLAB)
        assert (ROOT / url.removeprefix(COLAB)).is_file()


@each
def test_links_to_other_files_lead_somewhere(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?://)([^)]+)\)", cell.source):
                assert (path.parent / target).exists(), target


@each
def test_it_installs_from_the_repository_that_the_badge_names(path):
    sources = [cell.source for cell in code_cells(read(path))]
    (install,) = [source for source in sources if "%pip" in source]
    assert install == sources[0]
    assert 'find_spec("tfmark") is None:\n    %pip install' in install
    assert "git+https://github.com/tfmark/tfmark" in install


@each
def test_small_settings_are_one_variable(path):
    settings = re.findall(r"TFMARK_\w+", json.dumps(read(path).cells))
    assert set(settings) == {"TFMARK_NOTEBOOK_SMALL"}
    assert sum("TFMARK_" in cell.source for cell in code_cells(read(path))) == 1
