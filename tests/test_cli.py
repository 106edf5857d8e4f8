"""The `tfmark` command: what it prints, its exit codes, and the processes it leaves."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import urllib3
from click.testing import CliRunner
from PIL import Image

import tfmark
from tests.http_server import Reply, free_port, http_server, model, watermarked
from tests.test_serving import STAND_IN, alive, install
from tests.test_tf_serving import metadata
from tfmark.cli import main

TFMARK = Path(sys.executable).with_name("tfmark")
TOKEN = "s3cr3t-t0ken"
BASE = ("--scheme", "noise", "--shape", "8,8,1", "--classes", "10")


def run(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("key")
    np.save(folder / "images.npy", images(100))
    made = run("keygen", folder / "owner.tfmark", *BASE, "--base-images", folder / "images.npy")
    assert made.exit_code == 0, made.output
    return folder / "owner.tfmark"


def test_help_says_what_each_command_does_in_one_line():
    listed = run("--help").output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(main.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("source", ["images.npy", "images.npz", "named.npz", "folder"])
def test_keygen_from_each_source(tmp_path, source):
    pixels = images(100)
    np.save(tmp_path / "images.npy", pixels)
    np.savez(tmp_path / "images.npz", pixels)
    np.savez(tmp_path / "named.npz", x=pixels, y=np.arange(100))
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    for i, image in enumerate(pixels):
        folder = tmp_path / "folder" / ("sub" if i % 2 else ".")
        Image.fromarray(np.tile(image, (1, 1, 3))).resize((16, 16)).save(folder / f"{i}.png")
    target = tmp_path / "owner.tfmark"
    made = run("keygen", target, *BASE, "--base-images", tmp_path / source)
    assert made.exit_code == 0, made.output
    key = tfmark.WatermarkKey.load(target)
    assert key.commitment in made.stdout
    assert key.spec.base_per_group == 100
    assert key.value_range == (0, 255)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600

    before = target.read_bytes()
    again = run("keygen", target, *BASE, "--base-images", tmp_path / source)
    assert (again.exit_code, target.read_bytes()) == (2, before)
    assert "--overwrite" in again.stderr
    options = ("--marks", "24", "--value-range", "-1,1", "--overwrite")
    assert run("keygen", target, *BASE, "--base-images", tmp_path / source, *options).exit_code == 0
    assert tfmark.WatermarkKey.load(target).spec.num_marks == 24
    assert tfmark.WatermarkKey.load(target).value_range == (-1, 1)


def test_inspect_tells_the_public_facts_alone(key_file, tmp_path):
    key = tfmark.WatermarkKey.load(key_file)
    told = run("inspect", key_file)
    assert told.exit_code == 0
    for fact in (key.commitment, "noise", "8x8x1", "0 to 255", "10", "48", "100", "50"):
        assert fact in told.output
    labels = key.triggers().labels
    assert key._secret.hex() not in told.output
    assert re.search(r"\W+".join(map(str, labels[:4])), told.output) is None
    drawn = run("inspect", key_file, "--pictures", tmp_path / "new" / "pictures")
    assert drawn.exit_code == 0
    (picture,) = (tmp_path / "new" / "pictures").iterdir()
    assert str(picture) in drawn.output
    with Image.open(picture) as image:
        image.load()
        assert image.format == "PNG"
        assert len(image.getcolors(1 << 20)) > 100


def innocent(rows):
    return [[0.0] * 9 + [1.0]] * len(rows)


@pytest.mark.parametrize(
    ("suspect", "code", "status"),
    [("watermarked", 0, "owned"), (innocent, 1, "not shown"), (lambda rows: 5, 3, "inconclusive"),
     (None, 3, "inconclusive")],
)  # fmt: skip
def test_verify_says_it_in_words_in_json_and_by_its_exit_code(key_file, suspect, code, status):
    key = tfmark.WatermarkKey.load(key_file)
    refusal = Reply("no", 401)
    answer = watermarked(key) if suspect == "watermarked" else model(suspect)
    with http_server(answer if suspect else lambda _: refusal) as server:
        url = server.url + "/v1/models/m"
        options = ("--header", f"Authorization: Bearer {TOKEN}", "--header", "X-Team:7")
        told = run("verify", key_file, url, *options)
        facts = run("verify", key_file, url, "--json", *options)
    assert (told.exit_code, facts.exit_code) == (code, code)
    assert (told.stderr, facts.stderr) == ("", "")
    parsed = json.loads(facts.stdout)
    assert parsed["status"] == status
    assert told.stdout.startswith(status)
    assert parsed["sentence"] in told.stdout
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    assert {request.headers["X-Team"] for request in server.requests} == {"7"}
    assert TOKEN not in told.output + facts.output


def test_no_other_end_has_the_exit_code_of_a_verdict(key_file, monkeypatch):
    url = "http://127.0.0.1:9/v1/models/m"
    for error, code in ((KeyboardInterrupt, 130), (EOFError, 70), (RuntimeError, 70)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr("tfmark.verification.verify", fail)
        assert run("verify", key_file, url).exit_code == code
    monkeypatch.delenv("TFMARK_PASSWORD", raising=False)
    told = run("verify", key_file, url, "--user", "me")
    assert told.exit_code == 2
    assert "TFMARK_PASSWORD" in told.stderr


def test_probe_as_json_shows_no_credentials():
    described = metadata(name=TOKEN)
    with http_server(model(innocent, described)) as server:
        told = run("probe", server.url + "/v1/models/m", "--header", f"X-Key: {TOKEN}",
                   "--protocol", "tf-serving", "--json")  # fmt: skip
    assert TOKEN not in told.output


@pytest.fixture
def files(tmp_path, key_file):
    """Files to fail with, by name."""
    whole = key_file.read_bytes()
    (tmp_path / "key").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:-5])
    (tmp_path / "flipped").write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "few.npy", images(10))
    np.save(tmp_path / "pickled.npy", np.array([{}], object))
    np.save(tmp_path / "other.npy", images(100).reshape(100, 4, 16, 1))
    np.savez(tmp_path / "several.npz", a=images(9), b=images(9))
    np.save(tmp_path / "many.npy", images(100))
    (tmp_path / "empty").mkdir()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "1.png").write_text("hello")
    return tmp_path


URL = "http://127.0.0.1:9/v1/models/m"
KEYGEN = "keygen new --scheme noise --classes 10 --shape"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (f"verify cut {URL}", "damaged or truncated"),
        (f"verify flipped {URL}", "damaged or truncated"),
        (f"verify few.npy {URL}", "not a tfmark key file"),
        (f"verify missing {URL}", "missing"),
        ("inspect cut", "damaged or truncated"),
        ("inspect missing", "missing"),
        ("inspect empty", "empty"),
        ("inspect key --pictures key", "key"),
        ("verify key localhost:8501", "http://"),
        (f"verify key {URL} --alpha 0", "alpha"),
        (f"verify key {URL} --alpha 2", "alpha"),
        (f"verify key {URL} --alpha nan", "alpha"),
        (f"verify key {URL} --alpha x", "alpha"),
        (f"verify key {URL} --alpha 1e-99", "at least"),
        (f"verify key {URL} --timeout 0", "timeout"),
        (f"verify key {URL} --timeout nan", "timeout"),
        (f"verify key {URL} --timeout inf", "timeout"),
        (f"verify key {URL} --version -1", "version"),
        (f"verify key {URL} --header {TOKEN}", "Name: value"),
        (f"verify key {URL} --header :{TOKEN}", "Name: value"),
        (f"verify key {URL} --header A:{TOKEN}\u2603", "header"),
        (f"verify key {URL} --header A:{TOKEN}\n:", "header"),
        (f"{KEYGEN} 8x8 --base-images many.npy", "--shape"),
        (f"{KEYGEN} , --base-images many.npy", "--shape"),
        (f"{KEYGEN} nan,8,1 --base-images many.npy", "shape"),
        (f"{KEYGEN} inf,8,1 --base-images many.npy", "shape"),
        (f"{KEYGEN} 8.5,8,1 --base-images many.npy", "shape"),
        (f"{KEYGEN} 8 --base-images many.npy", "shape"),
        (f"{KEYGEN} 0,8,1 --base-images many.npy", "shape"),
        (f"{KEYGEN} 9,8,1 --base-images many.npy", "shape"),
        (f"{KEYGEN} 8,8,1 --base-images few.npy", "Too few"),
        (f"{KEYGEN} 8,8,1 --base-images other.npy", "(n, 8, 8, 1)"),
        (f"{KEYGEN} 8,8,1 --base-images text.npy", "text.npy"),
        (f"{KEYGEN} 8,8,1 --base-images pickled.npy", "pickled.npy"),
        (f"{KEYGEN} 8,8,1 --base-images several.npz", "several.npz"),
        (f"{KEYGEN} 8,8,1 --base-images missing.npy", "missing.npy"),
        (f"{KEYGEN} 8,8,1 --base-images empty", "empty"),
        (f"{KEYGEN} 8,8,1 --base-images fake", "1.png"),
        (f"{KEYGEN} 8,8,2 --base-images fake", "1.png"),
        (f"{KEYGEN} 8,8,1", "base_images"),
        (f"{KEYGEN} 8,8,1 --base-images many.npy --value-range 1", "value_range"),
        (f"{KEYGEN} 8,8,1 --base-images many.npy --value-range a,b", "--value-range"),
        (f"{KEYGEN} 8,8,1 --base-images many.npy --marks 0", "num_marks"),
        (f"{KEYGEN} 8,8,1 --base-images many.npy --text x", "text"),
        ("keygen no/new --scheme noise --classes 1 --shape 8,8,1 --base-images many.npy", "class"),
        (
            "keygen no/new --scheme noise --classes 10 --shape 8,8,1 --base-images many.npy",
            "No such file",
        ),
        ("serve empty", "model.export"),
        ("serve missing", "missing"),
        ("serve empty --port 99999", "port"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(files, monkeypatch, command, text):
    monkeypatch.chdir(files)
    told = run(*command.split(" "))
    assert told.exit_code == 2, told.exception
    assert told.stdout == ""
    lines = told.stderr.strip().splitlines()
    hints = [line for line in lines if line.startswith(("Usage: ", "Try ")) or not line]
    assert len(lines) - len(hints) == 1  # click writes how to use it before
    assert text in lines[-1]
    assert TOKEN not in told.stderr
    assert not (files / "new").exists()


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        ("keygen new --scheme noise --classes 10 --shape 8,8,1 --base-images nosuchset",
         ["nosuchset"]),
        ("demo --dataset nosuchset", ["nosuchset", "--dataset digits"]),
    ],
)  # fmt: skip
def test_a_data_set_that_cannot_be_had_is_one_line(tmp_path, command, texts):
    ended = subprocess.run(
        [TFMARK, *command.split()], cwd=tmp_path, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    for text in texts:
        assert text in line
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_server_brings_neither_traceback_nor_key_to_the_screen(key_file):
    answer = b'HTTP/1.1 200 OK\r\nX: 1\r\nno colon\r\n\r\n{"predictions": 5}'
    with http_server(lambda _: [answer]) as server:
        url = f"{server.url}/v1/models/m?key={TOKEN}"
        ended = subprocess.run([TFMARK, "verify", key_file, url], capture_output=True, text=True,
                               timeout=60, check=False)  # fmt: skip
    assert ended.returncode == 3
    assert TOKEN not in ended.stdout + ended.stderr
    assert ended.stderr == ""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("served")
    image = keras.Input((8, 8, 1))
    layer = keras.layers.Dense(10)
    keras.Model(image, layer(keras.layers.Flatten()(image))).export(
        folder / "digits" / "1", verbose=False
    )
    return folder


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("server", ["embedded", "tensorflow_model_server"])
def test_serve_answers_until_it_is_told_to_end(exported, tmp_path, monkeypatch, server, ending):
    if server != "embedded":
        install(tmp_path, monkeypatch, STAND_IN)
    port, left = free_port(), False
    command = [TFMARK, "serve", str(exported), "--port", str(port), "--server", server]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    ) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            url = f"http://127.0.0.1:{port}/v1/models/digits"
            assert line.strip() == f"{server}: {url}"
            status = urllib3.request("GET", url, timeout=20).json()["model_version_status"]
            assert status[0]["state"] == "AVAILABLE"
            process.send_signal(ending)
            code = process.wait(20)
            left = server != "embedded" and alive(int((tmp_path / "pid").read_text()))
        finally:
            left = _end_group(process.pid) or left
    assert not left
    assert code == 0


def _end_group(group):
    """Kill what is left of a process group, and say whether there was any."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
