"""Key files with a passphrase: what opens them, what does not, and what they show meanwhile."""

import hashlib
import json
import os
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.test_keyfile import FORMAT_1, SECRET, forged, of_format_1, put, sealed, small_key
from tfmark import WatermarkKey
from tfmark.errors import InvalidArgumentError, KeyFileError, PassphraseError
from tfmark.key_format import MAGIC, close, pack
from tfmark.key_lock import Lock
from tfmark.keyfile import PublicKeyFacts, Records, read_public

PASSPHRASE = "Grüße an Ali Baba"
KNOWN = "4398af21ee3226e09abb29b8b02d14324fb9ab9f68945e46f2465fd5c5251e01"
RECORDS = Records(2, (b"a stamp",))


def locked(key=None, passphrase=PASSPHRASE):
    """The bytes of a locked file, always the same, and cheap to open."""
    key = small_key("content", (12, 10, 3)) if key is None else key
    lock = Lock(bytes(range(16)), bytes(range(12)), n=2)
    facts = PublicKeyFacts(key.spec, key.public, RECORDS, lock)
    return pack(facts, close(facts, SECRET, key.base_images, passphrase))


def load(tmp_path, data, passphrase=PASSPHRASE):
    path = tmp_path / "some.tfmark"
    path.write_bytes(data)
    return WatermarkKey.load(path, passphrase)


def test_known_answer():
    """If this fails, the change locks out owners of keys: it needs a new format."""
    assert hashlib.sha256(locked()).hexdigest() == KNOWN


def test_the_format_is_the_one_that_is_documented():
    data, key = locked(), small_key("content", (12, 10, 3))
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    header = json.loads(data[start:end])
    assert (header.pop("opened"), header.pop("time_stamps")) == (2, ["YSBzdGFtcA=="])
    salt, nonce = (bytes.fromhex(header["lock"][name]) for name in ("salt", "nonce"))
    made = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=2, r=8, p=1, dklen=32)
    del header["spec"]
    rest = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    bound = MAGIC + key.spec.canonical() + rest
    body = AESGCM(made).decrypt(nonce, data[end:-32], bound)
    assert body == SECRET + key.base_images.tobytes()


def test_a_locked_key_opens_with_its_passphrase_alone(tmp_path):
    path, key = tmp_path / "owner.tfmark", small_key("content", (12, 10, 3))
    key.save(path, overwrite=True, passphrase=PASSPHRASE)
    data = path.read_bytes()
    assert read_public(path).lock.n >= 1 << 17
    assert SECRET not in data
    assert SECRET.hex().encode() not in data
    assert key.base_images[0, 0, :2].tobytes() not in data
    loaded = WatermarkKey.load(path, "Gru\u0308\u00dfe an Ali Baba")  # as another keyboard has it
    assert loaded.public == key.public
    np.testing.assert_array_equal(loaded.triggers().pixels, key.triggers().pixels)
    for wrong in (None, "Grüße an Ali Bab", PASSPHRASE + " ", PASSPHRASE.lower()):
        with pytest.raises(PassphraseError) as caught:
            load(tmp_path, locked(), wrong)
        assert caught.value.__context__ is None
        assert "Ali" not in str(caught.value)
    assert isinstance(caught.value, KeyFileError)


@pytest.mark.usefixtures("cheap_locks")
def test_each_locking_is_made_anew(tmp_path):
    key, path = small_key(), tmp_path / "owner.tfmark"
    locks = []
    for _ in range(2):
        key.save(path, overwrite=True, passphrase="x")
        locks.append(read_public(path).lock)
    assert locks[0].salt != locks[1].salt
    assert locks[0].nonce != locks[1].nonce


def test_what_is_public_needs_no_passphrase(tmp_path):
    (tmp_path / "owner.tfmark").write_bytes(locked())
    facts = read_public(tmp_path / "owner.tfmark")
    key = small_key("content", (12, 10, 3))
    assert (facts.spec, facts.commitment, facts.records) == (key.spec, key.public, RECORDS)
    assert (facts.value_range, facts.locked) == (key.value_range, True)
    (tmp_path / "open.tfmark").write_bytes(FORMAT_1.read_bytes())
    assert not read_public(tmp_path / "open.tfmark").locked


@pytest.mark.parametrize("passphrase", ["", "s3cret" * 200, "s3cret\udc80", b"s3cret", 5])
def test_what_cannot_be_a_passphrase_is_refused_and_not_shown(tmp_path, passphrase):
    path = tmp_path / "owner.tfmark"
    with pytest.raises(InvalidArgumentError, match="passphrase") as caught:
        small_key().save(path, passphrase=passphrase)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert not path.exists()


def test_a_key_without_a_passphrase_opens_with_any(tmp_path):
    assert load(tmp_path, FORMAT_1.read_bytes(), "any").public == of_format_1(small_key()).public


@pytest.mark.parametrize("whole", [True, False])
def test_no_flipped_bit_makes_another_key(tmp_path, whole):
    """With a checksum that fits, a flip in the records may pass, as in JSON's white space."""
    data, key = locked(small_key()), small_key()
    passed = 0
    for bit in range(0, 8 * (len(data) - 32), 31):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        made = bytes(flipped) if whole else sealed(bytes(flipped[:-32]))
        try:
            loaded = load(tmp_path, made)
        except KeyFileError as error:
            assert error.__context__ is None
            continue
        passed += 1
        assert loaded.public == key.public
        assert loaded.spec == key.spec
        np.testing.assert_array_equal(loaded.base_images, key.base_images)
    assert passed == 0 if whole else 0 < passed < 40


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("n", [0, 1, -2, 3, 1 << 19, 1 << 40, 1 << 62, 10**400, 2.0, "2", True, None, [2]]),
        ("r", [0, 1, 7, 16, 1 << 40, 8.0, "8", None]),
        ("p", [0, -1, 5, 1 << 40, 1.0, True, None]),
        ("salt", ["", "00", "0" * 31, "x" * 32, "0" * 34, 5, None]),
        ("nonce", ["", "0" * 23, "0" * 26, "x" * 24, 5, None]),
        ("kdf", ["pbkdf2", "", None, 5, ["scrypt"]]),
        ("cipher", ["none", "", None, 5]),
        ("more", [1]),
    ],
)
def test_a_strangers_lock_takes_neither_time_nor_memory(tmp_path, monkeypatch, field, values):
    files = [forged(locked(), put(f"lock.{field}", value)) for value in values]
    monkeypatch.setattr(hashlib, "scrypt", lambda *_, **__: pytest.fail("scrypt was run"))
    for data in files:
        for read in (load, lambda folder, data: read_public(folder / "some.tfmark")):
            with pytest.raises(KeyFileError) as caught:
                read(tmp_path, data)
            assert not isinstance(caught.value, PassphraseError)
            assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("path", "value"),
    [("spec.owner", "Mallory"), ("commitment", "0" * 64), ("weights", "0" * 64),
     ("signer", "0" * 64), ("spec.base_root", "0" * 64), ("spec.text", "TE"),
     ("value_range", [0, 1]), ("lock.p", 2), ("lock.salt", "00" * 16)],
)  # fmt: skip
def test_what_is_bound_cannot_be_changed_without_the_passphrase(tmp_path, path, value):
    # Who signs and what marks the weights is bound by the specification as well.
    bound = path in ("weights", "signer")
    with pytest.raises(KeyFileError if bound else PassphraseError):
        load(tmp_path, forged(locked(), put(path, value)))


def test_a_lock_cannot_be_taken_off_or_put_on_by_hand(tmp_path):
    with pytest.raises(KeyFileError, match="bytes of base images"):
        load(tmp_path, forged(locked(), put("lock", None)))
    lock = Lock(bytes(16), bytes(12), n=2).to_json()
    small_key().save(tmp_path / "owner.tfmark")
    with pytest.raises(KeyFileError, match="bytes of base images"):
        load(tmp_path, forged((tmp_path / "owner.tfmark").read_bytes(), put("lock", lock)))


def test_nothing_secret_shows(tmp_path):
    (tmp_path / "owner.tfmark").write_bytes(locked())
    key = WatermarkKey.load(tmp_path / "owner.tfmark", PASSPHRASE)
    shown = repr(key) + repr(read_public(key.path)) + repr(key.records)
    for secret in (SECRET.hex(), repr(SECRET)[2:-1], PASSPHRASE):
        assert secret not in shown


@pytest.mark.usefixtures("cheap_locks")
def test_a_large_random_body_survives(tmp_path):
    images = np.frombuffer(os.urandom(12 * 64 * 64 * 3), np.uint8).reshape(12, 64, 64, 3)
    key = WatermarkKey.generate(
        scheme="noise", image_shape=(64, 64, 3), num_classes=10, num_marks=6, base_images=images,
        secret=secrets.token_bytes(32),
    )  # fmt: skip
    key.save(tmp_path / "owner.tfmark", passphrase="x")
    loaded = WatermarkKey.load(tmp_path / "owner.tfmark", "x")
    np.testing.assert_array_equal(loaded.base_images, key.base_images)
