"""The public document: always the same bytes, and nothing else is taken for one."""

import contextlib
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfmark
from tfmark.commitment import read_commitment
from tfmark.errors import CommitmentError, InvalidArgumentError

SECRET = bytes(range(32))


def key(owner="ACME Ltd", value_range=(0.0, 1.0)):
    return tfmark.WatermarkKey.generate(
        scheme="unrelated", image_shape=(8, 8, 1), num_classes=10, num_marks=9,
        value_range=value_range, owner=owner, secret=SECRET,
    )  # fmt: skip


def test_document_is_pinned():
    document = key().public.document
    assert json.loads(document) == {
        "tfmark": "tfmark commitment 1",
        "owner": "ACME Ltd",
        "commitment": key().commitment,
        "weights": key().public.weights,
        "signer": key().public.signer,
        "scheme": "unrelated",
        "image_shape": [8, 8, 1],
        "num_classes": 10,
        "num_marks": 9,
        "value_range": [0.0, 1.0],
    }
    known = "82df537643bb94eb084b385c7f6a7704f02a37eea3bdeb71ddc784a838e2dc70"
    assert hashlib.sha256(document).hexdigest() == known


def test_it_can_be_read_again():
    assert read_commitment(key().public.document) == key().public


def test_an_owner_changes_every_mark():
    ours, theirs = key("ACME Ltd"), key("Thief Ltd")
    assert ours.commitment != theirs.commitment
    assert (ours.triggers().labels != theirs.triggers().labels).any()


def test_a_key_without_an_owner_has_the_commitment_of_before_there_were_owners():
    assert b"owner" not in key("").spec.canonical()


def test_it_holds_nothing_secret():
    mine = tfmark.WatermarkKey.generate(
        scheme="content", text="ACME", image_shape=(28, 28, 1), num_classes=10, num_marks=9,
        value_range=(0, 1), secret=SECRET, base_images=[[[[i]] * 28] * 28 for i in range(20)],
    )  # fmt: skip
    document = mine.public.document
    assert SECRET.hex().encode() not in document
    assert b"ACME" not in document


@pytest.mark.parametrize("owner", ["two\nlines", " blank", "x" * 201, 7, None])
def test_owners_that_cannot_be(owner):
    with pytest.raises(InvalidArgumentError, match="owner"):
        key(owner)


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "Thief", "extra": 1},
        {"commitment": "ab"},
        {"commitment": "x" * 64},
        {"weights": 64},
        {"num_marks": 9.0},
        {"num_classes": True},
        {"scheme": []},
        {"image_shape": 8},
        {"value_range": [1.0, 0.0]},
        {"value_range": [0, 1]},
        {"tfmark": "tfmark commitment 2"},
    ],
)
def test_other_documents_are_refused(change):
    facts = json.loads(key().public.document) | change
    with pytest.raises(CommitmentError):
        read_commitment(json.dumps(facts, indent=2).encode() + b"\n")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_a_commitment(data):
    with pytest.raises(CommitmentError):
        read_commitment(data)


@settings(deadline=None)
@given(st.integers(0), st.integers(0, 7))
def test_no_flipped_bit_gives_the_same_commitment(position, bit):
    document = bytearray(key().public.document)
    document[position % len(document)] ^= 1 << bit
    with contextlib.suppress(CommitmentError):
        assert read_commitment(bytes(document)) != key().public


@pytest.mark.parametrize("name", ["commitment", "weights", "signer"])
@pytest.mark.parametrize("respelled", [str.upper, lambda digest: digest[:62] + "  "])
def test_a_digest_has_one_spelling(name, respelled):
    """Else one key had many documents, and a time stamp over one would say nothing of another."""
    document = key().public.document
    digest = json.loads(document)[name]
    with pytest.raises(CommitmentError, match="lower case"):
        read_commitment(document.replace(digest.encode(), respelled(digest).encode()))
