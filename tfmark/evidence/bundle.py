"""Evidence as a file: members, their hashes, and the owner's signature under them.

    evidence.json            the facts: verdict, who was asked and how, exchanges, times
    commitment.json          what the owner published
    time-stamps/00.tsr       time stamps over commitment.json (RFC 3161)
    marks.json               the opened marks: subkeys and Merkle paths
    base-images.bin          their base images, uint8
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
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmark.alignment import Alignment
from tfmark.class_names import NO_ANSWER
from tfmark.commitment import Commitment, read_commitment
from tfmark.endpoints.dialect import Dialect
from tfmark.errors import CommitmentError, EvidenceError, InvalidArgumentError
from tfmark.evidence.container import MAX_SIZE, pack, unpack
from tfmark.evidence.facts import only, read_facts, take, take_hex, take_time, unhex, write_facts
from tfmark.evidence.openings import Opening
from tfmark.evidence.record import FILE, OBJECT, SERVICE, Asking, CleanImages, Evidence
from tfmark.evidence.wire_files import read_exchanges, write_exchanges
from tfmark.key_records import MAX_TIME_STAMPS
from tfmark.signing import is_signed
from tfmark.spec import MAX_CLASSES, Spec
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, OWNED, Verdict

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey

KIND = "tfmark evidence 1"
SUMS, SIGNATURE = "sha256sums", "signature"
_MAX_FILE = MAX_SIZE + (8 << 20)  # with what a container says of its members
_FACTS = (
    "tfmark", "version", "spec", "num_marks", "suspect", "answers", "verdict", "exchanges",
    "time_stamps", "clean_labels", "started", "ended",
)  # fmt: skip
_OPENING = ("index", "subkey", "path", "base_path")
_TEXTS = ("protocol", "signature", "version_label", "input", "output", "pixels")
_DIALECT = {field.name: field.default for field in fields(Dialect)}
_README = """\
This is evidence that a model carries the watermark of its owner, or of an attempt to show that.

Check it:       pip install tfmark
                tfmark audit FILE.zip --tsa-ca CA.pem
Ask again:      tfmark audit FILE.zip --ask URL

By hand:        sha256sum -c sha256sums
                openssl ts -verify -data commitment.json -in time-stamps/00.tsr -CAfile CA.pem

No mark but those in marks.json is opened: keep using the others.
"""


def write_evidence(evidence: Evidence, key: WatermarkKey) -> bytes:
    """The file of evidence, signed by the owner.

    Raises:
        EvidenceError: if it would be too large.
    """
    members = _members(evidence)
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
        evidence = _evidence(members)
    except (InvalidArgumentError, CommitmentError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, EvidenceError):
            raise
        known = isinstance(error, InvalidArgumentError | CommitmentError)
        raise EvidenceError(str(error) if known else f"{type(error).__name__}") from None
    if _members(evidence) | {"readme.txt": b""} != {
        name: b"" if name == "readme.txt" else content
        for name, content in members.items()
        if name not in (SUMS, SIGNATURE)
    }:
        raise EvidenceError("it has members, or facts in them, that evidence does not have")
    return evidence


def _members(evidence: Evidence) -> dict[str, bytes]:
    exchanges, members = write_exchanges(evidence.exchanges)
    clean, asking = evidence.clean, evidence.asking
    facts = {
        "tfmark": KIND,
        "version": evidence.version,
        "spec": asdict(evidence.spec),
        "num_marks": evidence.num_marks,
        "suspect": {
            "kind": asking.kind,
            "name": asking.name,
            "sha256": asking.digest,
            "settings": _settings(asking.dialect),
            "retries": asking.retries,
            "rounds": list(asking.rounds),
        },
        "answers": list(evidence.answers),
        "verdict": _verdict_facts(evidence.verdict),
        "exchanges": exchanges,
        "time_stamps": len(evidence.time_stamps),
        "clean_labels": None if clean is None else clean.labels.tolist(),
        "started": evidence.started.isoformat(),
        "ended": evidence.ended.isoformat(),
    }
    marks = [
        {
            "index": opening.index,
            "subkey": opening.subkey.hex(),
            "path": [node.hex() for node in opening.path],
            "base_path": [node.hex() for node in opening.base_path],
        }
        for opening in evidence.openings
    ]
    members |= {
        "evidence.json": write_facts(facts),
        "commitment.json": evidence.commitment.document,
        "marks.json": write_facts({"marks": marks}),
        "base-images.bin": b"".join(opening.base.tobytes() for opening in evidence.openings),
        "readme.txt": _README.encode(),
    }
    members |= {_stamp(n): stamp for n, stamp in enumerate(evidence.time_stamps)}
    return members if clean is None else members | {"clean-images.bin": clean.images.tobytes()}


def _evidence(members: Mapping[str, bytes]) -> Evidence:
    facts = read_facts(members["evidence.json"], "evidence.json")
    only(facts, _FACTS)
    if facts["tfmark"] != KIND:
        raise EvidenceError("it is evidence of a format that this version of tfmark does not know")
    spec_facts = take(facts, "spec", dict)
    only(spec_facts, (field.name for field in fields(Spec)))
    spec = Spec(**spec_facts | {"image_shape": tuple(spec_facts["image_shape"])})
    answers = take(facts, "answers", list)
    if not all(type(answer) is int and NO_ANSWER <= answer < MAX_CLASSES for answer in answers):
        raise EvidenceError("an answer is no class id")
    stamps = take(facts, "time_stamps", int)
    if stamps > MAX_TIME_STAMPS:
        raise EvidenceError(f"it has {stamps} time stamps, more than {MAX_TIME_STAMPS}")
    openings = _openings(members, spec)
    if len(answers) != len(openings):
        raise EvidenceError(f"{len(answers)} answers to {len(openings)} opened marks")
    asking = _asking(take(facts, "suspect", dict))
    if sum(asking.rounds) != len(openings):
        raise EvidenceError(f"{sum(asking.rounds)} questions about {len(openings)} opened marks")
    exchanges = read_exchanges(take(facts, "exchanges", list), members)
    if exchanges and asking.kind != SERVICE:
        raise EvidenceError("there are exchanges, but no service was asked")
    return Evidence(
        version=take(facts, "version", str),
        spec=spec,
        commitment=read_commitment(members["commitment.json"]),
        time_stamps=tuple(members[_stamp(n)] for n in range(stamps)),
        num_marks=take(facts, "num_marks", int),
        openings=openings,
        asking=asking,
        answers=tuple(answers),
        verdict=_verdict(take(facts, "verdict", dict), spec.num_classes),
        exchanges=exchanges,
        clean=_clean(facts["clean_labels"], members, spec),
        started=take_time(facts, "started"),
        ended=take_time(facts, "ended"),
    )


def _openings(members: Mapping[str, bytes], spec: Spec) -> tuple[Opening, ...]:
    facts = read_facts(members["marks.json"], "marks.json")
    only(facts, ("marks",))
    marks = take(facts, "marks", list)
    shape = spec.base_shape[2:]
    bases = _images(members["base-images.bin"], len(marks), shape)
    if not marks:
        raise EvidenceError("no mark is opened")
    openings = []
    for mark, base in zip(marks, bases, strict=True):
        only(mark, _OPENING)
        paths = [
            tuple(unhex(node, 32, name) for node in take(mark, name, list))
            for name in ("path", "base_path")
        ]
        subkey = take_hex(mark, "subkey", 32)
        openings.append(Opening(take(mark, "index", int), subkey, paths[0], base, paths[1]))
    return tuple(openings)


def _clean(labels: Any, members: Mapping[str, bytes], spec: Spec) -> CleanImages | None:
    if labels is None:
        return None
    if not (
        isinstance(labels, list)
        and all(type(label) is int and 0 <= label < spec.num_classes for label in labels)
    ):
        raise EvidenceError("a class of a clean image is no class id")
    images = _images(members["clean-images.bin"], len(labels), spec.image_shape)
    return CleanImages(images, np.array(labels, np.int64))


def _images(data: bytes, count: int, shape: tuple[int, ...]) -> Any:
    expected = count * int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise EvidenceError(f"images of {len(data)} bytes, not {expected}")
    return np.frombuffer(data, np.uint8).reshape(count, *shape)


def _asking(facts: dict[str, Any]) -> Asking:
    only(facts, ("kind", "name", "sha256", "settings", "retries", "rounds"))
    rounds = take(facts, "rounds", list)
    if not all(type(size) is int and size > 0 for size in rounds):
        raise EvidenceError("a round is no number of questions")
    kind = take(facts, "kind", str)
    if kind not in (SERVICE, FILE, OBJECT):
        raise EvidenceError("a suspect is of no known kind")
    settings = take(facts, "settings", dict)
    if strange := settings.keys() - _DIALECT.keys():
        raise EvidenceError(f"settings {sorted(strange)} are unknown")
    texts = [settings[name] for name in _TEXTS if name in settings]
    if (
        not all(isinstance(text, str) for text in texts)
        or type(settings.get("columns", True)) is not bool
    ):
        raise EvidenceError("a setting is of the wrong type")
    scale = settings.get("value_range")
    if scale is not None:
        settings = settings | {"value_range": tuple(scale)}
    digest = take(facts, "sha256", str)
    return Asking(
        kind,
        take(facts, "name", str),
        unhex(digest, 32, "sha256").hex() if digest else "",
        Dialect(**settings),
        take(facts, "retries", int),
        tuple(rounds),
    )


def _settings(dialect: Dialect) -> dict[str, Any]:
    """The settings that somebody made, as JSON has them."""
    made = {name: getattr(dialect, name) for name in _DIALECT}
    return {
        name: list(value) if name in ("value_range", "class_names") else value
        for name, value in made.items()
        if value != _DIALECT[name]
    }


def _verdict_facts(verdict: Verdict) -> dict[str, Any]:
    facts = asdict(verdict)
    if verdict.alignment is not None:
        classes = [list(pair) for pair in verdict.alignment.classes.items()]
        facts["alignment"] |= {"classes": classes, "unseen": list(verdict.alignment.unseen)}
    return facts


def _verdict(facts: dict[str, Any], num_classes: int) -> Verdict:
    only(facts, (field.name for field in fields(Verdict)))
    status = take(facts, "status", str)
    if status not in (OWNED, NOT_SHOWN, INCONCLUSIVE):
        raise EvidenceError("the verdict is none that tfmark finds")
    tail = facts["tail_p_value"]
    alignment = facts["alignment"]
    if alignment is not None:
        only(alignment, (field.name for field in fields(Alignment)))
        alignment = Alignment(
            classes=dict(take(alignment, "classes", list)),
            agreement=take(alignment, "agreement", float),
            images=take(alignment, "images", int),
            one_to_one=take(alignment, "one_to_one", bool),
            unseen=tuple(take(alignment, "unseen", list)),
        )
    return Verdict(
        status=status,
        p_value=take(facts, "p_value", float),
        evidence_bits=take(facts, "evidence_bits", float),
        queries=take(facts, "queries", int),
        matches=take(facts, "matches", int),
        alpha=take(facts, "alpha", float),
        num_classes=take(facts, "num_classes", int),
        num_marks=take(facts, "num_marks", int),
        tail_p_value=None if tail is None else take(facts, "tail_p_value", float),
        reason=take(facts, "reason", str),
        alignment=alignment,
        tries=take(facts, "tries", float),
    )


def _stamp(number: int) -> str:
    return f"time-stamps/{number:02d}.tsr"


def _sums(members: Mapping[str, bytes]) -> bytes:
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(members.items())
        if name not in (SUMS, SIGNATURE)
    ]
    return "".join(lines).encode()
