"""What importing loads: nothing until it is used, and no TensorFlow where it is not needed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfmark
from tests.http_server import http_server, watermarked

HEAVY = ("tensorflow", "keras", "numpy", "PIL", "click", "urllib3", "waitress", "sklearn", "rich")
NO_TENSORFLOW = """
import sys

class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def python(code, *arguments):
    """What a fresh interpreter prints, as JSON."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "owner.tfmark"
    images = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1), np.uint8)
    made = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(8, 8, 1), num_classes=10, base_images=images
    )
    made.save(path)
    return made, path


@pytest.mark.parametrize("before", ["import sys\n", NO_TENSORFLOW])
def test_verifying_over_http_needs_no_tensorflow(key, before):
    code = (
        before
        + """
import json
import tfmark
verdict = tfmark.verify(sys.argv[1], tfmark.WatermarkKey.load(sys.argv[2]))
print(json.dumps([verdict.status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    )
    with http_server(watermarked(key[0])) as server:
        status, loaded = python(code, server.url + "/v1/models/m", key[1])
    assert status == "owned"
    unneeded = {"tensorflow", "keras", "click", "waitress", "tensorflow_datasets"}
    assert (unneeded | {"rfc3161_client"}).isdisjoint(loaded)


def test_the_command_verifies_without_tensorflow(key):
    code = (
        NO_TENSORFLOW
        + """
from tfmark.cli import main
main(["verify", sys.argv[1], sys.argv[2], "--json"])
"""
    )
    with http_server(watermarked(key[0])) as server:
        assert python(code, key[1], server.url + "/v1/models/m")["status"] == "owned"


def test_importing_loads_nothing_and_changes_nothing():
    loaded, same, own = python(f"""
import json, os, sys
before = dict(os.environ)
import tfmark
print(json.dumps([
    [name for name in {HEAVY} if name in sys.modules],
    before == dict(os.environ),
    [name for name in sys.modules if name.startswith("tfmark")],
]))
""")
    assert (loaded, same, own) == ([], True, ["tfmark"])


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("tfmark.inject", "tfmark.inject"),
        ("tfmark.WatermarkCallback", "tfmark.WatermarkCallback"),
        ("from tfmark import inject", "tfmark.inject"),
        ("tfmark.serve(sys.argv[1], server='embedded').__enter__()", "tensorflow"),
    ],
)
def test_without_tensorflow_the_extra_is_named(tmp_path, use, name):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    code = (
        NO_TENSORFLOW
        + f"""
import json
import tfmark
try:
    {use}
except ImportError as error:
    print(json.dumps(str(error)))
"""
    )
    told = python(code, tmp_path / "m")
    assert "pip install 'tfmark[tensorflow]'" in told
    assert name in told


def test_help_needs_no_tensorflow():
    """`help(tfmark)` looks at all that `dir` lists, and would fail on what cannot be loaded."""
    without, shown = python("""
import json, pydoc, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import tfmark
text = pydoc.plain(pydoc.render_doc(tfmark))
print(json.dumps([dir(tfmark), [name for name in dir(tfmark) if f" {name}(" in text]]))
""")
    needing = {
        "WatermarkCallback", "WeightMark", "harden", "inject", "mark_weights", "robustness",
        "soften",
    }  # fmt: skip
    assert set(tfmark.__all__) - set(without) == needing
    assert set(without) - set(shown) <= {"__version__"}


def test_all_is_complete_and_each_name_is_there():
    for name in tfmark.__all__:
        assert getattr(tfmark, name) is not None
        assert name in dir(tfmark)
    assert len(set(tfmark.__all__)) == len(tfmark.__all__)
    tree = ast.parse(Path(tfmark.__file__).read_text())
    typed = {
        alias.asname
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } - {None}  # fmt: skip
    assert typed | {"__version__"} == set(tfmark.__all__)  # what type checkers see
    everything = {}
    exec("from tfmark import *", everything)
    assert set(tfmark.__all__) <= everything.keys()


def test_what_the_package_promises_is_public():
    assert {"WatermarkKey", "WatermarkCallback", "inject", "verify", "serve", "Verdict"} <= set(
        tfmark.__all__
    )
    assert Path(tfmark.__file__).with_name("py.typed").exists()


@pytest.mark.parametrize("name", ["nosuchname", "WatermarkKeys", "_secret"])
def test_another_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"'tfmark' has no attribute '{name}'"):
        getattr(tfmark, name)
    assert not hasattr(tfmark, name)
