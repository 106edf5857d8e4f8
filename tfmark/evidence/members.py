"""Evidence as the members of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from tfmark.class_names import NO_ANSWER
from tfmark.commitment import read_commitment
from tfmark.errors import EvidenceError
from tfmark.evidence.asking_facts import read_asking, write_asking
from tfmark.evidence.facts import only, read_facts, take, take_time, write_facts
from tfmark.evidence.image_files import (
    read_clean,
    read_marks,
    read_same_images,
    write_clean,
    write_marks,
    write_same_images,
)
from tfmark.evidence.record import SERVICE, Evidence
from tfmark.evidence.verdict_facts import read_verdict, write_verdict
from tfmark.evidence.wire_files import read_exchanges, write_exchanges
from tfmark.key_records import MAX_TIME_STAMPS
from tfmark.spec import MAX_CLASSES, Spec

KIND = "tfmark evidence 1"
README = "readme.txt"
_EVIDENCE, _COMMITMENT = "evidence.json", "commitment.json"
_FACTS = (
    "tfmark", "version", "spec", "num_marks", "suspect", "answers", "verdict", "exchanges",
    "time_stamps", "clean_labels", "started", "ended",
)  # fmt: skip
_README_TEXT = """\
This is evidence that a model carries the watermark of its owner, or of an attempt to show that.

Check it:       pip install tfmark
                tfmark audit FILE.zip --tsa-ca CA.pem
Ask again:      tfmark audit FILE.zip --ask URL

By hand:        sha256sum -c sha256sums
                openssl ts -verify -data commitment.json -in time-stamps/00.tsr -CAfile CA.pem

No mark but those in marks.json is opened: keep using the others.
"""


def to_members(evidence: Evidence) -> dict[str, bytes]:
    """All members but those that are about the members."""
    exchanges, members = write_exchanges(evidence.exchanges)
    clean_labels, clean = write_clean(evidence.clean)
    facts = {
        "tfmark": KIND,
        "version": evidence.version,
        "spec": asdict(evidence.spec),
        "num_marks": evidence.num_marks,
        "suspect": write_asking(evidence.asking),
        "answers": list(evidence.answers),
        "verdict": write_verdict(evidence.verdict),
        "exchanges": exchanges,
        "time_stamps": len(evidence.time_stamps),
        "clean_labels": clean_labels,
        "started": evidence.started.isoformat(),
        "ended": evidence.ended.isoformat(),
    }
    return {
        **members,
        **write_marks(evidence.openings),
        **write_same_images(evidence.thorough),
        **clean,
        **{_stamp(n): stamp for n, stamp in enumerate(evidence.time_stamps)},
        _EVIDENCE: write_facts(facts),
        _COMMITMENT: evidence.commitment.document,
        README: _README_TEXT.encode(),
    }


def from_members(members: Mapping[str, bytes]) -> Evidence:
    """What such members say.

    Raises:
        EvidenceError: if they are not as `to_members` makes them.
        InvalidArgumentError, CommitmentError: if a value cannot work.
        KeyError, TypeError, ValueError: if one is missing or of another form.
    """
    facts = read_facts(members[_EVIDENCE], _EVIDENCE)
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
    openings = read_marks(members, spec)
    thorough = read_same_images(members, spec)
    if not (len(answers) <= len(openings) if thorough else len(answers) == len(openings)):
        raise EvidenceError(f"{len(answers)} answers to {len(openings)} opened marks")
    asking = read_asking(take(facts, "suspect", dict))
    if sum(asking.rounds) != len(answers):
        raise EvidenceError(f"{sum(asking.rounds)} questions, but {len(answers)} answers")
    exchanges = read_exchanges(take(facts, "exchanges", list), members)
    if exchanges and asking.kind != SERVICE:
        raise EvidenceError("there are exchanges, but no service was asked")
    return Evidence(
        version=take(facts, "version", str),
        spec=spec,
        commitment=read_commitment(members[_COMMITMENT]),
        time_stamps=tuple(members[_stamp(n)] for n in range(stamps)),
        num_marks=take(facts, "num_marks", int),
        openings=openings,
        asking=asking,
        answers=tuple(answers),
        verdict=read_verdict(take(facts, "verdict", dict)),
        exchanges=exchanges,
        thorough=thorough,
        clean=read_clean(facts["clean_labels"], members, spec),
        started=take_time(facts, "started"),
        ended=take_time(facts, "ended"),
    )


def _stamp(number: int) -> str:
    return f"time-stamps/{number:02d}.tsr"
