"""Evidence as a file: members, their hashes, and the owner's signature under them.

    evidence.json            the facts: verdict, who was asked and how, exchanges, times
    commitment.json          what the owner published
    time-stamps/00.tsr       time stamps over commitment.json (RFC 3161)
    marks.json               the opened marks: subkeys and Merkle paths
    base-images.bin          their base images, uint8
    thorough.json            the thorough question, if it was asked: images by their Merkle paths,
    thorough-images.bin      uint8,
    thorough-scores.bin      and what all classes scored, float64, little-endian
    clean-images.bin         what classes were aligned on, if they were, uint8
    exchanges/00000-request  bodies as they were sent and received
    exchanges/00000-answer
    certificates/....pem     the server's certificates
    readme.txt               how to check it
    sha256sums               SHA-256 of all members above
    signature                Ed25519 over sha256sums, by the owner

`sha256sum -c sha256sums` and `openssl ts -verify` work on the unpacked files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfmark.commitment import Commitment
from tfmark.errors import CommitmentError, EvidenceError, InvalidArgumentError
from tfmark.evidence.container import MAX_SIZE, pack, unpack
from tfmark.evidence.facts import unhex
from tfmark.evidence.members import README, from_members, to_members
from tfmark.evidence.record import Evidence
from tfmark.signing import is_signed

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey

SUMS, SIGNATURE = "sha256sums", "signature"
_MAX_FILE = MAX_SIZE + (8 << 20)  # with what a container says of its members


def write_evidence(evidence: Evidence, key: WatermarkKey) -> bytes:
    """The file of evidence, signed by the owner.

    Raises:
        EvidenceError: if it would be too large.
    """
    members = to_members(evidence)
    sums = _sums(members)
    return pack(members | {SUMS: sums, SIGNATURE: key.sign(sums).hex().encode() + b"\n"})


def read_members(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """The members of a file, of which none was changed, by their hashes.

    Raises:
        EvidenceError: if it is not a file of evidence, or damaged.
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise EvidenceError(f"more than {_MAX_FILE >> 20} MiB are more than evidence ever has")
    members = unpack(data)
    if members.get(SUMS) != _sums(members):
        raise EvidenceError("the members are not those of its list of hashes")
    return members


def check_signature(members: Mapping[str, bytes], commitment: Commitment) -> None:
    """Check that the owner signed all members.

    Raises:
        EvidenceError: if not.
    """
    signature = unhex(members.get(SIGNATURE, b"").decode("latin-1")[:-1], 64, SIGNATURE)
    if members[SIGNATURE] != signature.hex().encode() + b"\n":
        raise EvidenceError("the signature is not written as tfmark writes it")
    if not is_signed(bytes.fromhex(commitment.signer), members[SUMS], signature):
        raise EvidenceError("it is not signed with the key that the commitment names")


def read_evidence(members: Mapping[str, bytes]) -> Evidence:
    """What the members of a file say. Nothing of it is checked but its form.

    Raises:
        EvidenceError: if they are not as `write_evidence` makes them.
    """
    try:
        evidence = from_members(members)
    except (InvalidArgumentError, CommitmentError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, EvidenceError):
            raise
        known = isinstance(error, InvalidArgumentError | CommitmentError)
        raise EvidenceError(str(error) if known else f"{type(error).__name__}") from None
    free = (SUMS, SIGNATURE, README)  # other versions may word the last one in another way
    written = {**to_members(evidence), **{name: members.get(name) for name in free}}
    if written != members:
        raise EvidenceError("it has members, or facts in them, that evidence does not have")
    return evidence


def _sums(members: Mapping[str, bytes]) -> bytes:
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(members.items())
        if name not in (SUMS, SIGNATURE)
    ]
    return "".join(lines).encode()
