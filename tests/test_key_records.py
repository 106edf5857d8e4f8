"""What a key file records: nothing is lost, whoever writes, and whenever it is cut short."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_key_lock import PASSPHRASE, RECORDS, locked
from tests.test_keyfile import FORMAT_1, SECRET, of_format_1, ramp, small_key
from tfmark import WatermarkKey
from tfmark.errors import InvalidArgumentError, KeyFileError
from tfmark.key_format import MAGIC, MAGIC_1
from tfmark.key_records import MAX_TIME_STAMP, MAX_TIME_STAMPS
from tfmark.keyfile import Records, read_public, update_records


@pytest.fixture
def path(tmp_path):
    small_key().save(tmp_path / "owner.tfmark")
    return tmp_path / "owner.tfmark"


def add(stamp):
    return lambda records: replace(records, time_stamps=(*records.time_stamps, stamp))


def test_a_key_goes_on_where_its_file_stopped(path):
    key, other = WatermarkKey.load(path), WatermarkKey.load(path)
    assert (key.records, key.path) == (Records(), path)
    assert [key.open_next(2), other.open_next(1), key.open_next(1)] == [0, 2, 3]
    assert key.records.opened == read_public(path).records.opened == 4
    assert WatermarkKey.load(path).open_next(1) == 4
    with pytest.raises(InvalidArgumentError, match="0 are left"):
        other.open_next(1)


@pytest.mark.parametrize("count", [0, -1, 6, 1.0, True, "1", None, 10**30])
def test_what_cannot_be_opened_is_not_recorded(path, count):
    without, key = small_key(), WatermarkKey.load(path)
    for each in (without, key):
        with pytest.raises(InvalidArgumentError, match="5 are left"):
            each.open_next(count)
        assert each.records == Records()
    assert read_public(path).records == Records()


def test_a_key_without_a_file_counts_in_memory_and_saves_it(tmp_path):
    key = WatermarkKey(SECRET, small_key().spec, small_key().base_images, (-1, 1))
    assert (key.path, key.open_next(3), key.open_next(1)) == (None, 0, 3)
    key.save(tmp_path / "owner.tfmark")
    assert key.path == tmp_path / "owner.tfmark"
    assert WatermarkKey.load(key.path).records.opened == 4


def test_another_key_or_no_file_at_its_place_is_an_error(path):
    key = WatermarkKey.load(path)
    small_key(shape=(12, 10)).save(path, overwrite=True)
    with pytest.raises(KeyFileError, match="another key"):
        key.open_next(1)
    assert read_public(path).records == key.records == Records()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        key.open_next(1)
    assert list(path.parent.iterdir()) == []


def test_records_change_without_the_passphrase(path):
    path.write_bytes(locked())
    written = update_records(path, add(b"another"))
    assert written == Records(2, (b"a stamp", b"another"))
    key = WatermarkKey.load(path, PASSPHRASE)
    assert (key.records, key.open_next(1)) == (written, 2)
    assert read_public(path).locked
    assert WatermarkKey.load(path, PASSPHRASE).public == key.public


def test_format_1_is_read_and_rewritten(path):
    data = FORMAT_1.read_bytes()
    assert data.startswith(MAGIC_1)
    path.write_bytes(data)
    key = WatermarkKey.load(path)
    same = of_format_1(small_key())
    assert key.public == same.public == read_public(path).commitment
    assert key.records == Records()
    np.testing.assert_array_equal(key.triggers().pixels, same.triggers().pixels)
    assert update_records(path, lambda records: records) == Records()
    assert path.read_bytes() == data
    key.open_next(2)
    assert path.read_bytes().startswith(MAGIC)
    assert WatermarkKey.load(path).records == Records(2)
    assert WatermarkKey.load(path).public == key.public


def test_opened_marks_stay_opened(path):
    path.write_bytes(locked())
    for opened, match in ((1, "at least 2"), (6, "at most 5")):
        with pytest.raises(InvalidArgumentError, match=match):
            update_records(path, lambda records, opened=opened: replace(records, opened=opened))
    assert read_public(path).records == RECORDS


@pytest.mark.usefixtures("cheap_locks")
def test_saving_over_a_file_of_the_same_key_keeps_its_records(path):
    stale = WatermarkKey.load(path)
    WatermarkKey.load(path).open_next(2)
    update_records(path, add(b"stamp"))
    stale.save(path, overwrite=True, passphrase="x")
    assert stale.records == WatermarkKey.load(path, "x").records == Records(2, (b"stamp",))
    small_key(shape=(12, 10)).save(path, overwrite=True)
    assert read_public(path).records == Records()


@pytest.mark.usefixtures("cheap_locks")
def test_the_file_behind_a_link_is_the_one_that_changes(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    WatermarkKey.load(link).open_next(1)
    small_key().save(link, overwrite=True, passphrase="x")
    assert link.is_symlink()
    assert (read_public(path).records.opened, read_public(path).locked) == (1, True)


def test_the_file_stays_its_owners(path):
    before = os.umask(0)
    try:
        path.chmod(0o644)
        update_records(path, add(b"stamp"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_update_that_fails_leaves_all_as_it_was(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        update_records(path, add(b"stamp"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_processes_do_not_lose_what_others_write(tmp_path):
    path = tmp_path / "owner.tfmark"
    WatermarkKey.generate(
        scheme="noise", image_shape=(8, 8, 1), num_classes=10, base_images=ramp(96, 8, 8, 1)
    ).save(path)
    code = """
import json, os, sys
from dataclasses import replace
import tfmark
from tfmark.keyfile import update_records
key = tfmark.WatermarkKey.load(sys.argv[1])
sys.stdin.read()
firsts = [key.open_next(1) for _ in range(12)]
for number in range(4):
    stamp = b"%d %d" % (os.getpid(), number)
    update_records(sys.argv[1], lambda r: replace(r, time_stamps=(*r.time_stamps, stamp)))
print(json.dumps(firsts))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=-1, stdin=-1, text=True)
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.close()  # all at once
    firsts = [first for process in processes for first in json.loads(process.stdout.read())]
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        process.stdout.close()
    assert sorted(firsts) == list(range(48))
    records = read_public(path).records
    stamps = {b"%d %d" % (process.pid, number) for process in processes for number in range(4)}
    assert (records.opened, set(records.time_stamps)) == (48, stamps)


def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "owner.tfmark"
    key = small_key()
    key.save(path)
    code = """
import sys
from tfmark.keyfile import Records, update_records
print("ready", flush=True)
for number in range(10**9):
    update_records(sys.argv[1], lambda _: Records(0, (b"%d" % number * 9000,)))
"""
    changed = set()
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, path], stdout=-1)
        with process:
            process.stdout.readline()
            time.sleep(random.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
        changed.add(WatermarkKey.load(path).records)
        assert update_records(path, add(b"mine")).time_stamps[-1] == b"mine"  # no lock is left
    assert len(changed) > 1
    assert read_public(path).commitment == key.public


STAMPS = st.lists(st.binary(min_size=1, max_size=60), max_size=MAX_TIME_STAMPS // 2, unique=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 99), STAMPS, st.integers(0, 99), STAMPS)
def test_merging_loses_nothing(opened, stamps, others_opened, others):
    mine, other = Records(opened, tuple(stamps)), Records(others_opened, tuple(others))
    merged = mine.merged(other)
    assert merged.opened == max(opened, others_opened)
    assert merged.time_stamps[: len(others)] == other.time_stamps
    assert set(merged.time_stamps) == set(stamps + others)
    assert len(merged.time_stamps) == len(set(stamps + others))
    assert merged.merged(merged) == other.merged(merged) == merged
    assert Records.from_json(json.loads(json.dumps(merged.to_json()))) == merged


@pytest.mark.parametrize(
    ("opened", "stamps"),
    [(-1, ()), (1.0, ()), (True, ()), (0, (b"",)), (0, ("text",)), (0, (b"a",) * 17),
     (0, (bytes(MAX_TIME_STAMP + 1),))],
)  # fmt: skip
def test_records_that_cannot_be(opened, stamps):
    with pytest.raises(InvalidArgumentError, match="Expected"):
        Records(opened, stamps)


def test_the_largest_records_fit_into_a_file(path):
    stamps = tuple(bytes([i]) * MAX_TIME_STAMP for i in range(MAX_TIME_STAMPS))
    update_records(path, lambda _: Records(5, stamps))
    assert WatermarkKey.load(path).records == Records(5, stamps)
