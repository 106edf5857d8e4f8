"""Keys, evidence, and every way to change a file of evidence that a liar has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tfmark
from tfmark.commitment import read_commitment
from tfmark.evidence.container import pack, unpack
from tfmark.evidence.facts import write_facts
from tfmark.signing import sign, verification_key

BASES = np.random.default_rng(3).integers(0, 256, (512, 8, 8, 1), np.uint8)
LIAR = bytes(range(32))  # a signing key of somebody else's
Members = dict[str, bytes]


def small_key(number: int = 1, **options: Any) -> tfmark.WatermarkKey:
    """A key for small images; the same number gives the same one."""
    defaults: dict[str, Any] = {
        "scheme": "noise", "image_shape": (8, 8, 1), "num_classes": 10, "num_marks": 48,
        "base_images": BASES, "owner": "ACME Ltd", "secret": bytes([number] * 32),
    }  # fmt: skip
    return tfmark.WatermarkKey.generate(**defaults | options)


def members_of(path: Path) -> Members:
    return unpack(path.read_bytes())


def hashed(members: Mapping[str, bytes], sign_it: Callable[[bytes], bytes]) -> bytes:
    """A file of these members, with true hashes and some signature."""
    others = {name: c for name, c in members.items() if name not in ("sha256sums", "signature")}
    lines = [f"{hashlib.sha256(c).hexdigest()}  {name}\n" for name, c in sorted(others.items())]
    sums = "".join(lines).encode()
    return pack(others | {"sha256sums": sums, "signature": sign_it(sums).hex().encode() + b"\n"})


def by_the_owner(members: Mapping[str, bytes], key: tfmark.WatermarkKey) -> bytes:
    """As a claimant can make it who lies about the own model."""
    return hashed(members, key.sign)


def by_a_liar(members: Mapping[str, bytes]) -> bytes:
    """As anybody can make it; the commitment names another signer."""
    return hashed(members, lambda sums: sign(LIAR, sums))


def taken_over(members: Members) -> bytes:
    """Signed by a liar whom commitment and specification name as well."""
    facts = json.loads(members["commitment.json"])
    facts["signer"] = verification_key(LIAR).hex()
    document = json.dumps(facts, indent=2).encode("ascii") + b"\n"
    bound = read_commitment(document).binding
    mine = edited(members, "evidence.json", lambda facts: facts["spec"].update(bound=bound))
    return by_a_liar(mine | {"commitment.json": document})


def edited(members: Members, name: str, change: Callable[[Any], Any]) -> Members:
    """The members with the facts in one of them changed, which is written as tfmark does."""
    facts = json.loads(members[name])
    changed = change(facts)
    return members | {name: write_facts(facts if changed is None else changed)}


def without_secrets(path: Path, *secrets: bytes) -> bool:
    """Whether a file has none of these bytes in it, in the forms in which bytes are written."""
    data = path.read_bytes()
    return not any(form in data for secret in secrets for form in (secret, secret.hex().encode()))
