"""Reading the mark out of files, among them such as a thief would hand over."""

import io
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfmark
from tests.test_imports import NO_TENSORFLOW, python
from tfmark import weight_reader
from tfmark.cli import main
from tfmark.errors import ModelFileError
from tfmark.weight_files import in_file

BITS = 64
WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def key(make_key):
    return make_key(number=77)


@pytest.fixture(scope="module")
def kernel(key):
    """A kernel (2, 2, 50, 8) that holds the mark, computed and not trained."""
    turned = key.weight_secret.towards(BITS, 200).astype(float)
    means = np.linalg.lstsq(turned.T, np.ones(BITS), rcond=None)[0]
    noise = np.random.default_rng(0).standard_normal((200, 8))
    kernel = means[:, None] + noise - noise.mean(axis=1, keepdims=True)
    return kernel.reshape(2, 2, 50, 8).astype(np.float32)


def hdf5(arrays, damage=lambda store: None):
    """A file of weights in Keras' layout: for each layer its arrays."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as store:
        for number, (name, array) in enumerate(arrays.items()):
            group = store.create_group(f"layers/layer_{number}/vars")
            group.attrs["name"] = name
            group["0"] = array
        damage(store)
    return buffer.getvalue()


def archive(path, weights, compression=zipfile.ZIP_STORED, **others):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in others.items():
            file.writestr(name, content)
        if weights is not None:
            file.writestr(WEIGHTS, weights)
    return path


@pytest.fixture
def suspect(tmp_path, kernel):
    plain = np.random.default_rng(1).standard_normal((5, 5, 8, 4))
    arrays = {"plain": plain, "marked": kernel, "small": np.ones((3, 3)), "bias": np.ones(500)}
    return archive(tmp_path / "suspect.keras", hdf5(arrays))


def read(path, key, **options):
    return tfmark.verify_weights(path, key, bits=BITS, **options)


@pytest.mark.usefixtures("cheap_locks")
def test_the_command_opens_a_locked_key(suspect, key):
    locked = suspect.with_name("locked.tfmark")
    key.save(locked, passphrase="open sesame")
    command = ["verify-weights", str(locked), str(suspect), "--bits", str(BITS)]
    told = CliRunner().invoke(main, command, env={"TFMARK_PASSPHRASE": "open sesame"})
    assert told.exit_code == 0, told.output
    refused = CliRunner().invoke(main, command, env={"TFMARK_PASSPHRASE": "another"})
    assert refused.exit_code == 2


def test_the_command_says_it_in_words_in_json_and_by_its_exit_code(suspect, key, make_key):
    key.save(suspect.with_name("owner.tfmark"))
    make_key(number=1).save(suspect.with_name("other.tfmark"))

    def run(name, *options):
        command = ["verify-weights", suspect.with_name(name), suspect, "--bits", BITS, *options]
        return CliRunner().invoke(main, [str(part) for part in command])

    told, facts = run("owner.tfmark"), json.loads(run("owner.tfmark", "--json").stdout)
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith("owned: p-value 1.1e-19, 0 wrong of 64 bits in layer marked\n")
    assert facts["sentence"] in told.stdout
    assert (facts["layers"], facts["p_value"]) == (2, 2 * 2.0**-64)
    assert run("owner.tfmark", "--layer", "plain").exit_code == 1
    other = run("other.tfmark")
    assert other.exit_code == 1
    assert other.stdout.startswith("not shown")
    missing = run("owner.tfmark", "--layer", "nosuch")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "'nosuch'" in missing.stderr
    assert run("owner.tfmark", "--alpha", "1e-30").exit_code == 2
    suspect.write_bytes(b"PK\x03\x04 nothing")
    damaged = run("owner.tfmark")
    assert (damaged.exit_code, damaged.stdout) == (2, "")
    assert "damaged" in damaged.stderr


def test_files_are_read_without_tensorflow(suspect, key):
    key.save(suspect.with_name("owner.tfmark"))
    code = (
        NO_TENSORFLOW
        + """
from tfmark.cli import main
main(["verify-weights", *sys.argv[1:], "--bits", "64", "--json"])
"""
    )
    assert python(code, suspect.with_name("owner.tfmark"), suspect)["status"] == "owned"


@pytest.mark.parametrize("form", ["float64", "float16", "int8", "bfloat16", "gzip", "deflated"])
def test_other_numbers_and_compressed_weights(tmp_path, kernel, key, form):
    compression = zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED

    def add(store):
        if form == "gzip":
            store.create_dataset("layers/extra/vars/0", data=kernel, compression="gzip")

    array = {
        "int8": np.rint(kernel / np.abs(kernel).max() * 127).astype(np.int8),
        "bfloat16": (kernel.view(np.uint32) >> 16).astype(np.uint16).view("V2"),
    }.get(form, kernel.astype(form if form.startswith("float") else "float32"))
    weights = hdf5({} if form == "gzip" else {"a": array}, add)
    assert read(archive(tmp_path / "a.keras", weights, compression), key).owned
    (tmp_path / "a.weights.h5").write_bytes(weights)
    assert read(tmp_path / "a.weights.h5", key).owned


def test_code_in_the_file_is_not_run(tmp_path, kernel, key):
    """A lambda layer, a class of one's own, and names that lead out of the archive."""
    config = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
    suspect = archive(
        tmp_path / "a.keras", hdf5({"\x1b[31mmarked": kernel}),
        **{"config.json": json.dumps(config), "../evil": b"evil", "/tmp/evil-tfmark": b"evil"},
    )  # fmt: skip
    verdict = read(suspect, key)
    assert verdict.owned
    assert verdict.layer == "?[31mmarked"
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]


def ring(store):
    for name in "abcdefgh":
        store[f"layers/{name}"] = store["layers"]


def outward(store):
    """Links and arrays that lead to another file, in which there is the mark."""
    store["layers/soft"] = h5py.ExternalLink("other.h5", "/layers/layer_0")
    layout = h5py.VirtualLayout((2, 2, 50, 8), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "/layers/layer_0/vars/0", (2, 2, 50, 8))
    store.create_virtual_dataset("layers/virtual", layout)
    store.create_dataset("layers/raw", (2, 2, 50, 8), "f4", external=[("other.h5", 0, 6400)])


def test_nothing_outside_the_file_is_read(tmp_path, kernel, key, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.h5").write_bytes(hdf5({"marked": kernel}))
    innocent = np.random.default_rng(0).standard_normal((100, 2))
    (tmp_path / "a.h5").write_bytes(hdf5({"innocent": innocent}, outward))
    verdict = read(tmp_path / "a.h5", key)
    assert (verdict.layers, verdict.layer, verdict.owned) == (1, "innocent", False)


def shrunk(content):
    """An archive whose directory says that the weights are shorter than they are."""
    start = content.rindex(b"PK\x01\x02")
    return content[: start + 24] + struct.pack("<I", 1000) + content[start + 28 :]


def unknown_method(content):
    start = content.rindex(b"PK\x01\x02")
    return content[: start + 10] + struct.pack("<H", 97) + content[start + 12 :]


def encrypted(content):
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.rindex(sign) + offset
        content = content[:start] + b"\x01\x00" + content[start + 2 :]
    return content


@pytest.mark.parametrize("change", [
    lambda content: b"",
    lambda content: b"GARBAGE" * 1000,
    lambda content: content[: len(content) // 2],
    lambda content: content.replace(b"model.weights.h5", b"model.weights.xx"),
    lambda content: content.replace(b"\x89HDF", b"\x88HDF"),
    shrunk, unknown_method, encrypted,
])  # fmt: skip
def test_damaged_archives_give_one_clear_error(suspect, change):
    suspect.write_bytes(change(suspect.read_bytes()))
    with pytest.raises(ModelFileError) as told:
        list(in_file(suspect, BITS))
    assert len(str(told.value)) < 200


def huge(store):
    store.create_dataset("layers/huge", (1000, 1 << 30), "f4", chunks=(1, 1 << 10))


def many(store):
    """Each far below the limit, 40 GB together."""
    for number in range(2000):
        store.create_dataset(f"layers/{number}", (100, 50_000), "f4", chunks=(100, 500))


def long_kernels(store):
    """They take little room, but much time to read bits from."""
    for number in range(100):
        store.create_dataset(f"layers/{number}", (1 << 18, 1), "i1", chunks=(1 << 18, 1))


def wide_chunk(store):
    shape, chunks = (100, 2), (100, 1 << 22)
    store.create_dataset("layers/c", shape, "f4", chunks=chunks, maxshape=(100, None))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [(huge, "times the file's size"), (many, "times the file's size"),
     (wide_chunk, "times the file's size"), (ring, "too many parts"),
     (long_kernels, "too many parts")],
)  # fmt: skip
def test_bombs_are_refused_before_they_unfold(tmp_path, damage, problem):
    (tmp_path / "a.h5").write_bytes(hdf5({"a": np.ones((100, 2))}, damage))
    with pytest.raises(ModelFileError, match=problem):
        list(in_file(tmp_path / "a.h5", BITS))


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path, key):
    bomb = archive(tmp_path / "a.keras", bytes(1 << 27), zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 19
    with pytest.raises(ModelFileError, match="times the file's size"):
        read(bomb, key)


def test_weights_that_are_no_numbers_prove_nothing(tmp_path, key):
    """Nor do weights of zeros: both read as some bits, half of them right."""
    for value in (np.nan, np.inf, 0.0):
        array = np.full((100, 2), value, np.float32)
        verdict = read(archive(tmp_path / "a.keras", hdf5({"a": array})), key)
        assert not verdict.owned
        assert 10 < verdict.bit_errors < 54


@settings(
    max_examples=5, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
                       min_size=1, max_size=20))  # fmt: skip
def test_whatever_bytes_are_changed_reading_ends(tmp_path, kernel, key, places):
    """Single bytes make the HDF5 library loop for ever."""
    content = bytearray(hdf5({"marked": kernel}))
    for place, byte in places:
        content[int(place * len(content))] = byte
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_reader, "PATIENCE", 2)
        try:
            read(tmp_path / "a.h5", key)
        except tfmark.TfmarkError as error:
            assert len(str(error)) < 200


def test_a_reader_that_never_ends_is_ended(suspect, key, monkeypatch):
    monkeypatch.setattr(weight_reader, "PATIENCE", 0.01)
    with pytest.raises(ModelFileError, match="no end"):
        read(suspect, key)


@pytest.mark.parametrize(
    ("suspect", "problem"),
    [("model.onnx", "Expected a .keras or .h5 file"), (5, "Expected a .keras or .h5 file, or a")],
)
def test_other_suspects_are_refused(key, suspect, problem):
    with pytest.raises(tfmark.TfmarkError, match=problem):
        read(suspect, key)
