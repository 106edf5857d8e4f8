"""Key files: what is saved comes back, nothing is lost, and no file can do harm."""

import base64
import copy
import dataclasses
import functools
import hashlib
import io
import json
import os
import pickle
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfmark import WatermarkKey
from tfmark.errors import InvalidArgumentError, KeyFileError, KeyFileExistsError
from tfmark.key_format import MAGIC, MAGIC_1, MAX_HEADER
from tfmark.key_records import MAX_TIME_STAMP

SECRET = bytes(range(32))
FORMAT_1 = Path(__file__).parent / "data" / "format_1.tfmark"  # small_key(), as it was once saved
ON_DISK = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ramp(count, *shape):
    """Images that all differ, from arithmetic alone."""
    return (np.arange(count * np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(count, *shape)


@functools.cache
def small_key(scheme="noise", shape=(10, 12, 1), foreign=False, value_range=(-1, 1)):
    return WatermarkKey.generate(
        scheme=scheme,
        image_shape=shape,
        num_classes=10,
        num_marks=5,
        base_images=ramp(12, *shape),
        value_range=value_range,
        text="TF" if scheme == "content" else None,
        unrelated_images=(ramp(20, 7, 7), np.arange(20) % 2) if foreign else None,
        secret=SECRET,
    )


def of_format_1(key):
    """The key that the first version would have made of the same secret."""
    spec = dataclasses.replace(key.spec, bound="")
    return WatermarkKey(SECRET, spec, key.base_images, key.value_range)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The bytes of a small key file."""
    path = tmp_path_factory.mktemp("keys") / "owner.tfmark"
    small_key().save(path)
    return path.read_bytes()


def load(tmp_path, data):
    path = tmp_path / "some.tfmark"
    path.write_bytes(data)
    return WatermarkKey.load(path)


def refused(tmp_path, data, match=None):
    """Load a file that must be refused, with one clear error that shows no secret."""
    with pytest.raises(KeyFileError, match=match) as caught:
        load(tmp_path, data)
    error = caught.value
    assert SECRET.hex() not in str(error)
    assert len(str(error)) < 1000
    assert error.__cause__ is None
    assert error.__context__ is None


def forged(data, change):
    """A key file with another header and a checksum that fits, as an attacker would make it."""
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    header = json.loads(data[start:end])
    header = change(header) if callable(change) else change
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return sealed(data[: len(MAGIC)] + len(header).to_bytes(4, "big") + header + data[end:-32])


def sealed(content):
    return content + hashlib.sha256(content).digest()


def put(path, value):
    """A change of a header: the field at `path` is `value`."""

    def change(header):
        header = copy.deepcopy(header)
        *parents, name = path.split(".")
        functools.reduce(dict.__getitem__, parents, header)[name] = value
        return header

    return change


def drop(path):
    def change(header):
        header = put(path, None)(header)
        *parents, name = path.split(".")
        del functools.reduce(dict.__getitem__, parents, header)[name]
        return header

    return change


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shape": (12, 10)},
        {"scheme": "content", "shape": (12, 10, 3), "value_range": (0, 1)},
        {"scheme": "unrelated", "value_range": (-123.68, 151.06)},
        {"scheme": "unrelated", "shape": (10, 12, 3), "foreign": True},
    ],
    ids=str,
)
def test_round_trip(tmp_path, options):
    key = small_key(**options)
    key.save(tmp_path / "owner.tfmark")
    loaded = WatermarkKey.load(str(tmp_path / "owner.tfmark"))
    assert loaded.commitment == key.commitment
    assert loaded.spec == key.spec
    assert loaded.value_range == key.value_range
    for split in ("verification", "embedding"):
        mine, theirs = key.triggers(2, split), loaded.triggers(2, split)
        for name in ("pixels", "labels", "marks", "images"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    loaded.save(tmp_path / "again.tfmark")
    files = [(tmp_path / name).read_bytes() for name in ("owner.tfmark", "again.tfmark")]
    assert files[0] == files[1]


def test_a_key_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "owner.tfmark"
    before = os.umask(0)
    try:
        small_key().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        small_key().save(path, overwrite=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_key_is_never_replaced_silently(tmp_path):
    path = tmp_path / "owner.tfmark"
    small_key().save(path)
    before = path.read_bytes()
    other = small_key(shape=(12, 10))
    with pytest.raises(KeyFileExistsError, match="exists already"):
        other.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    other.save(path, overwrite=True)
    assert WatermarkKey.load(path).commitment == other.commitment
    assert list(tmp_path.iterdir()) == [path]


def test_saving_does_not_follow_a_dangling_link(tmp_path):
    path = tmp_path / "owner.tfmark"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileExistsError):
        small_key().save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "owner.tfmark"):
        with pytest.raises(OSError, match=path.name):
            small_key().save(path, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@ON_DISK
@given(draw=st.data())
def test_a_truncated_file_is_refused(tmp_path, data, draw):
    refused(tmp_path, data[: draw.draw(st.integers(0, len(data) - 1))])


@ON_DISK
@given(draw=st.data())
def test_a_damaged_file_is_refused(tmp_path, data, draw):
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    if damaged != data:
        refused(tmp_path, bytes(damaged))


def archive():
    file = io.BytesIO()
    np.savez(file, secret=np.arange(32))
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda data: b"",
        lambda data: pickle.dumps({"secret": SECRET}),
        lambda data: archive(),
        lambda data: json.dumps({"secret": SECRET.hex()}).encode(),
        lambda data: data.replace(b"key 2", b"key 1"),
        lambda data: data.replace(b"key 2", b"key 3"),
        lambda data: sealed(data[:-32].replace(b"key 2", b"key 1")),
        lambda data: sealed(MAGIC_1 + (1 << 17).to_bytes(4, "big") + b" " * (1 << 17)),
        lambda data: b"\n" + data,
        lambda data: data + b"\0",
        lambda data: data + data,
        lambda data: MAGIC,
        lambda data: sealed(MAGIC),
        lambda data: sealed(MAGIC + b"\0\0\0"),
        lambda data: sealed(MAGIC + bytes(4)),
        lambda data: sealed(MAGIC + b"\xff\xff\xff\xff" + b"{}"),
        lambda data: sealed(MAGIC + (1 << 22).to_bytes(4, "big") + b" " * (1 << 22)),
        lambda data: sealed(data[:-32] + b"\0"),
        lambda data: sealed(data[:-33]),
        lambda data: sealed(data[:-33] + bytes([data[-33] ^ 1])),
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path, data, make):
    refused(tmp_path, make(data))


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        WatermarkKey.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        WatermarkKey.load(tmp_path / "missing")


NESTED = b"[" * 20_000 + b"]" * 20_000
SPEC = {
    "scheme": ["", "blue", None, 1, ["noise"], {"noise": 1}],
    "image_shape": ["10,12", [10], [10, 12, 1, 1], [10.0, 12, 1], [10, 12, True],
                    [10, 12, 0], [10, -12, 1], [1 << 40, 12, 1], [4096, 4096, 4096], {}, None],
    "num_classes": [1, 0, -10, 10.0, "10", [10], None, True, 10**30, float("nan")],
    "num_marks": [0, -5, 5.0, "5", None, 4097, 10**30, float("inf")],
    "base_groups": [0, -1, 2, 1.0, "1", None, True, 1 << 32, 10**30],
    "base_per_group": [0, -12, 11, 12.0, "12", 1 << 31, 10**30],
    "base_channels": [0, -1, 2, 3, 1.0, True, "1", None, 1 << 32],
    "num_verification": [0, -6, 12, 13, 6.0, "6", None],
    "base_root": ["", "0" * 64, "x" * 64, 0, None, ["0"] * 64],
    "text": ["TF", None, 0, [], "\ud800", "A" * 65],
}  # fmt: skip
DIGESTS = ["", "0" * 64, "0" * 63, "x" * 64, "\u0663" * 64, 5, None, ["0"] * 64]
OTHER = {
    "commitment": DIGESTS,
    "weights": DIGESTS,
    "signer": DIGESTS,
    "opened": [-1, 6, 1.0, True, None, "1", [1], 10**30],
    "time_stamps": [None, "", "AAAA", {}, [5], [""], ["?"], ["A"], ["AAAA"] * 17, [["AAAA"]],
                    [base64.b64encode(bytes(MAX_TIME_STAMP + 1)).decode()]],
    "lock": [[], {}, "", 0, {"kdf": "scrypt"}],
    "value_range": ["garbage", "01", [], [0], [0, 1, 2], [1, 0], [0, 0], ["0", "1"], None, 255,
                    [False, True], {"0": 0, "1": 1}, [float("nan"), 1], [0, float("inf")],
                    [0, 10**400], [[0], [1]], [-1.7e308, 1.7e308]],
    "spec": [None, 1, "spec", [], {}, [["scheme", "noise"]]],
}  # fmt: skip
OF_FORMAT_1 = {
    "secret": ["", "00", "00" * 31, "00" * 33, "zz" * 32, 5, None, list(SECRET), "\u0663" * 64],
    "value_range": OTHER["value_range"],
    "spec": OTHER["spec"],
}
FIELDS = {f"spec.{name}": values for name, values in SPEC.items()} | OTHER


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in FIELDS.items() for value in values],
    ids=lambda part: repr(part)[:24].encode("ascii", "replace").decode(),
)
def test_a_forged_field_is_refused(tmp_path, data, path, value):
    refused(tmp_path, forged(data, put(path, value)))


@pytest.mark.parametrize("path", FIELDS)
def test_a_missing_field_is_refused(tmp_path, data, path):
    refused(tmp_path, forged(data, drop(path)))


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in OF_FORMAT_1.items() for value in values],
    ids=lambda part: repr(part)[:24].encode("ascii", "replace").decode(),
)
def test_a_forged_field_of_format_1_is_refused(tmp_path, path, value):
    refused(tmp_path, forged(FORMAT_1.read_bytes(), put(path, value)))
    refused(tmp_path, forged(FORMAT_1.read_bytes(), drop(path)))


@pytest.mark.parametrize(
    "change",
    [
        put("more", 1), put("spec.more", 1), put("spec.__class__", "x"), [], {}, None, 5, "spec",
        b"", b"{", b"\xff\xfe\xfa", b"NaN", b"{}{}", NESTED, b'{"spec": ' + NESTED + b"}",
        lambda header: [header],
        lambda header: json.dumps(header).encode()[:-1],
        lambda header: json.dumps(header).encode().replace(b"10", b"9" * 5000),
        lambda header: json.dumps(header).encode() + b" " * MAX_HEADER,
        lambda header: header | {"spec": header["spec"] | {"image_shape": [[[[[]]]]]}},
    ],
)  # fmt: skip
def test_a_forged_header_is_refused(tmp_path, data, change):
    refused(tmp_path, forged(data, change))


@ON_DISK
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_any_bytes_for_a_header_and_a_body_are_refused(tmp_path, header, body):
    for magic in (MAGIC, MAGIC_1):
        refused(tmp_path, sealed(magic + len(header).to_bytes(4, "big") + header + body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@ON_DISK
@given(path=st.sampled_from([*FIELDS, "more"]), value=JSON)
def test_any_json_in_a_field_is_taken_as_it_is_or_refused(tmp_path, data, path, value):
    forgery = forged(data, put(path, value))
    try:
        key = load(tmp_path, forgery)
    except KeyFileError as error:
        assert SECRET.hex() not in str(error)
        return
    stamps = [base64.b64encode(stamp).decode() for stamp in key.records.time_stamps]
    facts = vars(key.spec) | vars(key.records)
    facts |= {"value_range": key.value_range, "time_stamps": stamps, "lock": None}
    facts |= vars(key.public)
    taken = facts[path.removeprefix("spec.")]
    if path == "value_range":
        value = [float(bound) for bound in value if type(bound) in (int, float)]
    assert json.dumps(taken) == json.dumps(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda data: forged(data, put("spec.base_per_group", (1 << 30) // 120)),
        lambda data: forged(data, put("spec.image_shape", [4096, 4096, 1])),
        lambda data: sealed(MAGIC + b"\xff\xff\xff\xff" + b"{}"),
    ],
)
def test_claims_of_huge_sizes_take_no_memory(tmp_path, data, make):
    tracemalloc.start()
    try:
        refused(tmp_path, make(data))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_huge_file_that_is_no_key_is_not_read(tmp_path):
    path = tmp_path / "model.bin"
    with path.open("wb") as file:
        file.truncate(16 << 30)  # sparse: it takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(KeyFileError, match="not a tfmark key file"):
            WatermarkKey.load(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_what_does_not_fit_together_makes_no_key():
    key = small_key()
    for secret, pool in [
        (SECRET[:-1], key.base_images),
        (SECRET, key.base_images[:, ::-1]),
        (SECRET, key.base_images[:, 1:]),
        (SECRET, key.base_images.astype(int)),
    ]:
        with pytest.raises(InvalidArgumentError):
            WatermarkKey(secret, key.spec, pool, (0, 1))
