"""Passphrases on the command line: where they come from, and where they never go."""

import json
import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.http_server import http_server, watermarked
from tests.test_key_lock import PASSPHRASE, locked
from tests.test_keyfile import FORMAT_1, SECRET, of_format_1, small_key
from tfmark import WatermarkKey
from tfmark.cli import main
from tfmark.keyfile import read_public

TFMARK = Path(sys.executable).with_name("tfmark")
URL = "http://127.0.0.1:9/v1/models/m"
ALPHA = ("--alpha", "0.01")
pytestmark = pytest.mark.usefixtures("cheap_locks")


def run(*arguments, text=None, **variables):
    """Run the command in this process, with these variables and no terminal."""
    unset = {"TFMARK_PASSPHRASE": None, "TFMARK_NEW_PASSPHRASE": None}
    arguments = [str(argument) for argument in arguments]
    told = CliRunner().invoke(main, arguments, input=text, env=unset | variables)
    for secret in (PASSPHRASE, SECRET.hex(), "n3w one", "Traceback"):
        assert secret not in told.output
    return told


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "owner.tfmark"
    path.write_bytes(locked())
    return path


@pytest.fixture
def passphrase_file(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\r\nanother line\n", "utf-8")
    return path


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8))
    return ("--scheme", "noise", "--shape", "8,8,1", "--classes", "10", "--base-images", path)


def test_verify_and_scan_take_a_passphrase_from_each_place(key_file, passphrase_file, tmp_path):
    with http_server(watermarked(WatermarkKey.load(key_file, PASSPHRASE))) as server:
        url = server.url + "/v1/models/m"
        (tmp_path / "list").write_text(url)
        for options, text, variables in (
            ((), None, {"TFMARK_PASSPHRASE": PASSPHRASE}),
            (("--passphrase-file", passphrase_file), None, {"TFMARK_PASSPHRASE": "another"}),
            (("--passphrase-file", "-"), PASSPHRASE + "\n", {}),
        ):
            told = run("verify", key_file, url, *ALPHA, *options, text=text, **variables)
            assert (told.exit_code, told.output.partition(":")[0]) == (0, "owned")
        options = ("--passphrase-file", passphrase_file, "--json-lines")
        told = run("scan", key_file, tmp_path / "list", *ALPHA, *options)
        assert json.loads(told.stdout)["status"] == "owned"


@pytest.mark.parametrize(
    ("arguments", "text", "variables", "expected"),
    [
        (("verify", "{key}", URL), None, {}, "no terminal to ask for it: set TFMARK_PASSPHRASE"),
        (("scan", "{key}", "{list}"), None, {}, "or use --passphrase-file"),
        (("scan", "{key}", "-", "--passphrase-file", "-"), URL, {}, "not both"),
        (("inspect", "{key}", "--pictures", "{new}"), None, {}, "is locked"),
        (("passphrase", "{key}"), None, {}, "is locked"),
        (("verify", "{key}", URL), None, {"TFMARK_PASSPHRASE": "wrong"}, "does not open"),
        (("verify", "{key}", URL), None, {"TFMARK_PASSPHRASE": ""}, "TFMARK_PASSPHRASE is empty"),
        (("verify", "{key}", URL, "--passphrase-file", "-"), "", {}, "first line of standard in"),
        (("verify", "{key}", URL, "--passphrase-file", "-"), "\nx", {}, "first line of standard"),
        (("verify", "{key}", URL, "--passphrase-file", "-"), b"\xff\xfe", {}, "UTF-8"),
        (("verify", "{key}", URL, "--passphrase-file", "-"), "x" * 9999, {}, "1 to 1024"),
        (("verify", "{key}", URL, "--passphrase-file", "{new}"), None, {}, "does not exist"),
        (("passphrase", "{key}"), None, {"TFMARK_PASSPHRASE": PASSPHRASE}, "TFMARK_NEW_PASSPHRASE"),
        (("passphrase", "{key}", "--remove", "--new-passphrase-file", "-"), "x", {}, "Either"),
        (("passphrase", "{key}", "--passphrase-file", "-", "--new-passphrase-file", "-"), "x", {},
         "not both"),
        (("passphrase", "{list}", "--remove"), None, {}, "not a tfmark key file"),
    ],
    ids=lambda part: None,
)  # fmt: skip
def test_what_cannot_be_opened_says_so_in_a_line(
    key_file, tmp_path, arguments, text, variables, expected
):
    before = key_file.read_bytes()
    names = {"key": key_file, "list": tmp_path / "list", "new": tmp_path / "new"}
    names["list"].write_text(URL)
    told = run(*(part.format(**names) for part in arguments), text=text, **variables)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert expected in told.stderr.strip().splitlines()[-1]
    assert key_file.read_bytes() == before
    assert not names["new"].exists()


def test_keygen_locks_a_key_and_names_its_owner(tmp_path, passphrase_file, images):
    for number, (options, text, variables) in enumerate((
        (("--passphrase-file", passphrase_file), None, {"TFMARK_PASSPHRASE": "another"}),
        (("--passphrase-file", "-"), PASSPHRASE, {}),
        ((), None, {"TFMARK_PASSPHRASE": PASSPHRASE}),
    )):  # fmt: skip
        path = tmp_path / str(number)
        more = ("--owner", "ACME Ltd", *options)
        made = run("keygen", path, *images, *more, text=text, **variables)
        assert made.exit_code == 0, made.output
        assert "locked with the passphrase" in made.stdout
        assert WatermarkKey.load(path, PASSPHRASE).spec.owner == "ACME Ltd"
        assert read_public(path).locked
    plain = run("keygen", tmp_path / "plain", *images)
    assert "locked" not in plain.stdout
    assert not read_public(tmp_path / "plain").locked
    for option, match in (
        (("--passphrase",), "no terminal"),
        (("--passphrase", "--passphrase-file", passphrase_file), "Either"),
        (("--owner", "A\x1b[2J"), "owner"),
    ):
        refused = run("keygen", tmp_path / "new", *images, *option)
        assert (refused.exit_code, match in refused.stderr) == (2, True)
    assert not (tmp_path / "new").exists()


def test_inspect_needs_no_passphrase_for_what_is_public(key_file, tmp_path):
    told = run("inspect", key_file, TFMARK_PASSPHRASE="wrong")
    assert told.exit_code == 0
    facts = dict(line.split(":", 1) for line in told.stdout.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    key = small_key("content", (12, 10, 3))
    assert facts["commitment"] == key.commitment
    assert facts["opened marks"] == "2, 3 are left"
    assert (facts["time stamps"], facts["passphrase"]) == ("1", "yes, the key is locked")
    assert (facts["scheme"], facts["image shape"]) == ("content", "12x10x3")
    assert "TF" not in told.stdout  # the text of its marks
    drawn = run("inspect", key_file, "--pictures", tmp_path / "new", TFMARK_PASSPHRASE=PASSPHRASE)
    assert drawn.exit_code == 0
    assert (tmp_path / "new" / "marks.png").exists()
    key_file.write_bytes(FORMAT_1.read_bytes())
    plain = run("inspect", key_file)
    assert of_format_1(small_key()).commitment in plain.stdout
    assert "none: whoever reads the file has the key" in plain.stdout


def test_a_passphrase_is_set_changed_and_removed_and_the_records_stay(key_file, passphrase_file):
    records, commitment = read_public(key_file).records, read_public(key_file).commitment
    new = key_file.with_name("new passphrase")
    new.write_text("n3w one")
    for options, variables, opens in (
        (("--new-passphrase-file", new), {"TFMARK_PASSPHRASE": PASSPHRASE}, "n3w one"),
        (("--passphrase-file", new), {"TFMARK_NEW_PASSPHRASE": PASSPHRASE}, PASSPHRASE),
        (("--passphrase-file", passphrase_file, "--remove"), {}, None),
        ((), {"TFMARK_NEW_PASSPHRASE": "n3w one"}, "n3w one"),
    ):
        told = run("passphrase", key_file, *options, **variables)
        assert told.exit_code == 0, told.output
        key = WatermarkKey.load(key_file, opens)
        assert (key.records, key.public) == (records, commitment)
        assert read_public(key_file).locked == (opens is not None)
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


def at_a_terminal(arguments, *lines):
    """Run the command at a terminal, and answer each prompt with a line."""
    terminal, theirs = pty.openpty()
    command = [TFMARK, *map(str, arguments)]
    shown, answers = [b""], list(lines)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            while select.select([terminal], [], [], 60)[0] and (chunk := os.read(terminal, 4096)):
                shown[-1] += chunk
                if answers and shown[-1].endswith(b": "):  # as prompts do, and wait
                    os.write(terminal, answers.pop(0).encode() + b"\n")
                    shown.append(b"")
        except OSError:  # the process is gone
            pass
        finally:
            os.close(terminal)
    told = b"".join(shown).decode()
    assert not answers, told
    return process.returncode, told


def test_a_terminal_is_asked_without_an_echo(tmp_path, images, monkeypatch):
    for variable in ("TFMARK_PASSPHRASE", "TFMARK_NEW_PASSPHRASE"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "owner.tfmark"
    code, shown = at_a_terminal(
        ("keygen", path, *images, "--passphrase"), "first try", "typed wrong", "open it", "open it"
    )
    assert (code, shown.count("Once more")) == (0, 2)
    assert "do not match" in shown
    told = [shown]
    code, shown = at_a_terminal(("passphrase", path, "--remove"), "open it")
    assert (code, "Passphrase of" in shown) == (0, True)
    told.append(shown)
    assert not read_public(path).locked
    path.write_bytes(locked())
    code, shown = at_a_terminal(("verify", path, URL, *ALPHA), "open it")
    assert (code, "does not open" in shown) == (2, True)
    for text in [*told, shown]:
        assert not any(typed in text for typed in ("first try", "typed wrong", "open it"))


def test_without_a_terminal_nothing_waits_for_one(key_file):
    ended = subprocess.run(
        [TFMARK, "verify", key_file, URL, *ALPHA], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60, check=False,
        env={name: value for name, value in os.environ.items() if "PASSPHRASE" not in name},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is locked" in ended.stderr
    assert "Traceback" not in ended.stderr
