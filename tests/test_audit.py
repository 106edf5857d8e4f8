"""`tfmark.audit` on evidence from real servers: what is true holds, and nothing else does."""

import base64
import hashlib
import io
import json
import os
import ssl
import struct
import subprocess
import sys
import threading
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import tfmark
from tests.evidence_files import (
    BASES,
    LIAR,
    by_a_liar,
    by_the_owner,
    edited,
    members_of,
    small_key,
    taken_over,
)
from tests.http_server import Reply, http_server, model, watermarked
from tests.time_stamp_authority import make_authority, needs_openssl
from tfmark.evidence.audit import audit
from tfmark.evidence.container import pack, unpack
from tfmark.key_records import Records
from tfmark.pixels import to_pixels
from tfmark.sequential import SequentialTest
from tfmark.signing import verification_key

PATH = "/v1/models/m"
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def asked(key, folder, answer=None, name="e.zip", **options):
    """Evidence of a suspect that answers over HTTP as `answer` does."""
    with http_server(answer or watermarked(key)) as server:
        tfmark.verify(server.url + PATH, key, evidence=folder / name, **options)
    return folder / name


def steps(path, **options):
    return {step.name: step for step in audit(path, **options).steps}


def refusal(path, data, **options):
    """The step at which a file is refused, `None` if it holds."""
    path.write_bytes(data)
    found = audit(path, **options)
    assert found.proves <= found.holds
    refused = [step for step in found.steps if step.status == "refused"]
    assert refused == [] or refused == [found.steps[-1]]
    return refused[0].name if refused else None


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority") / "files")


@pytest.fixture(scope="module")
def key():
    return small_key()


@pytest.fixture(scope="module")
def file(key, tmp_path_factory):
    """Evidence of a suspect that misses one mark of each eight."""
    folder = tmp_path_factory.mktemp("evidence")
    return asked(key, folder, misses(key, 8))


@pytest.fixture(scope="module")
def members(file):
    return members_of(file)


@pytest.fixture
def other(tmp_path):
    return tmp_path / "other.zip"


def misses(key, every):
    """A model that answers each so-manieth mark with another class."""
    triggers = key.triggers()
    labels = {
        pixels.tobytes(): (label + (mark % every == every - 1)) % key.spec.num_classes
        for pixels, label, mark in zip(
            triggers.pixels, triggers.labels, triggers.marks, strict=True
        )
    }
    eye = np.eye(key.spec.num_classes)

    def respond(instances):
        pixels = to_pixels(np.array(instances, np.float32), key.value_range)
        return eye[[labels[image.tobytes()] for image in pixels]].tolist()

    return model(respond)


# What is true holds


@pytest.mark.parametrize("scheme", ["content", "unrelated", "noise"])
@pytest.mark.parametrize(("classes", "shape"), [(2, (16, 16, 3)), (3, (16, 16)), (10, (16, 16, 1))])
def test_evidence_holds_for_every_scheme_and_number_of_classes(scheme, classes, shape, tmp_path):
    bases = np.random.default_rng(0).integers(0, 256, (512, *shape), np.uint8)
    key = small_key(
        scheme=scheme, image_shape=shape, num_classes=classes, base_images=bases,
        num_marks=64, text="HI" if scheme == "content" else None, value_range=(-1, 1),
    )  # fmt: skip
    found = audit(asked(key, tmp_path))
    assert found.holds, found
    assert found.verdict.owned
    assert found.verdict.matches == found.verdict.queries == len(found.evidence.openings)
    assert found.evidence.commitment.owner == "ACME Ltd"


def scores_of(key, request, mirrored=False):
    triggers = key.triggers().pixels
    facts = request.json
    images = facts.get("instances", facts.get("inputs"))
    if isinstance(images[0], dict):
        files = [base64.b64decode(image["b64"]) for image in images]
        images = [np.asarray(Image.open(io.BytesIO(file)))[..., None] for file in files]
    if mirrored:
        images = np.asarray(images)[:, :, ::-1]
    images = np.asarray(images, np.float64).reshape(len(images), -1)
    near = ((images[:, None] - triggers.reshape(len(triggers), -1)) ** 2).sum(-1).argmin(1)
    return np.eye(key.spec.num_classes)[key.triggers().labels[near]].tolist()


@pytest.mark.parametrize(
    "options",
    [{"pixels": "png"}, {"pixels": "integer"}, {"columns": True}, {"batch_size": 2},
     {"pixels": "integer", "columns": True, "batch_size": 3}, {"signature": "mine"},
     {"mirrored": True}],
    ids=str,
)  # fmt: skip
def test_evidence_holds_however_the_suspect_is_asked(options, tmp_path):
    key = small_key(2)

    def answer(request):
        if request.method == "GET":
            return Reply("{}", 404)
        member = "outputs" if options.get("columns") else "predictions"
        scores = scores_of(key, request, options.get("mirrored"))
        return Reply(json.dumps({member: scores}))

    path = asked(key, tmp_path, answer, **options)
    assert audit(path).holds, audit(path)
    assert audit(path).verdict.owned
    tries = {choice.what: choice.log_tries for choice in audit(path).choices}
    chosen = set(options) & {"pixels", "signature", "mirrored"}
    assert ("no settings of one's own" in tries) == (not chosen)


def test_evidence_holds_after_failures_which_count_as_tries(tmp_path):
    key, count, inner = small_key(3), [0], None
    inner = watermarked(key)

    def answer(request):
        if request.method == "GET":
            return Reply("", 302, {"Location": "https://login.test/"})
        count[0] += 1
        if count[0] == 1:
            return Reply("busy", 503, {"Retry-After": "0"})
        if len(request.json["instances"]) > 4:
            return Reply("too large", 413)
        return inner(request)

    found = audit(asked(key, tmp_path, answer))
    assert found.holds and found.verdict.owned, found
    (repeats,) = [choice for choice in found.choices if choice.what.endswith("without an answer")]
    assert repeats.what.startswith("4 requests")  # metadata, 503, and twice 413
    assert found.verdict.tries > 4**4
    assert sum(exchange.failed for exchange in found.evidence.exchanges) == 4


def test_a_failure_cannot_be_made_of_an_unlucky_answer_for_nothing(key, members, other):
    """Whoever claims that there was no answer to a question, and asks it again, pays for it."""

    def fail(facts):
        posted = next(i for i, e in enumerate(facts["exchanges"]) if e["method"] == "POST")
        again = dict(facts["exchanges"][posted])
        failure = {"kind": "unreachable", "text": "it broke off", "value": True}
        facts["exchanges"].insert(posted, again | {"answer": None, "failure": failure})

    renamed = renumbered(edited(members, "evidence.json", fail))
    assert refusal(other, by_the_owner(renamed, key)) == "verdict"


def renumbered(members):
    """Exchanges after they were moved, with bodies under the names that belong there."""
    facts = json.loads(members["evidence.json"])
    kept = {name: body for name, body in members.items() if not name.startswith("exchanges/")}
    for number, exchange in enumerate(facts["exchanges"]):
        for part in ("request", "answer"):
            if exchange[part] is not None:
                name = f"exchanges/{number:05d}-{part}"
                kept[name] = members[exchange[part]["file"]]
                exchange[part] = exchange[part] | {"file": name}
    return edited(kept, "evidence.json", lambda _: facts)


def test_evidence_of_a_suspect_with_classes_of_its_own(tmp_path):
    key = small_key(4)
    images, classes = BASES[:200], np.arange(200) % 10
    known = {image.tobytes(): int(label) for image, label in zip(images, classes, strict=True)}
    names = [f"class {i}" for i in range(10)]
    triggers = key.triggers()
    known |= {p.tobytes(): int(y) for p, y in zip(triggers.pixels, triggers.labels, strict=True)}

    def respond(instances):
        pixels = to_pixels(np.array(instances, np.float32), key.value_range)
        return [(known[image.tobytes()] + 3) % 10 for image in pixels]

    found = audit(asked(key, tmp_path, model(respond), clean=(images, classes)))
    assert found.holds and found.verdict.owned, found
    assert found.verdict.alignment.classes == {(i + 3) % 10: i for i in range(10)}
    assert found.verdict.tries > 3e6  # 10! ways

    def named(instances):
        return [names[(i - 3) % 10] for i in respond(instances)]

    path = asked(small_key(4), tmp_path, model(named), "named.zip", class_names=names)
    assert audit(path).holds and audit(path).verdict.owned
    assert audit(path).verdict.tries > 3e6


def test_tls_the_certificates_are_in_it(tmp_path, key):
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_certificate = ca.issue_cert("127.0.0.1")
    server_certificate.configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    fresh = small_key()
    with http_server(watermarked(fresh), context) as server:
        tfmark.verify(server.url + PATH, fresh, evidence=tmp_path / "e.zip",
                      ca_file=tmp_path / "ca.pem")  # fmt: skip
    found = audit(tmp_path / "e.zip")
    assert found.holds, found
    chains = {exchange.answered.certificates for exchange in found.evidence.exchanges}
    (chain,) = chains
    own = ssl.PEM_cert_to_DER_cert(server_certificate.cert_chain_pems[0].bytes().decode())
    assert chain[0] == own and len(chain) == 2
    assert server_certificate.private_key_pem.bytes() not in (tmp_path / "e.zip").read_bytes()


def test_evidence_over_grpc_is_read_without_a_connection(tmp_path):
    pytest.importorskip("tensorflow_serving.apis", reason="the extra `grpc` is not installed")
    from tests.test_grpc import KEY, scores, serving

    with serving(scores) as server:
        tfmark.verify(server.url, KEY, evidence=tmp_path / "e.zip")
    found = audit(tmp_path / "e.zip")
    assert found.holds and found.verdict.owned, found


def nearest_trigger(key):
    """A Keras model that answers what is nearest to an image among the triggers of a key."""
    import keras

    triggers = key.triggers()
    flat = triggers.pixels.reshape(len(triggers), -1) / 255.0
    stack = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    nearness = keras.layers.Dense(len(flat), activation="softmax")
    labels = keras.layers.Dense(key.spec.num_classes, use_bias=False)
    suspect = keras.Sequential([*stack, nearness, labels])
    nearness.set_weights([50 * flat.T, -25 * (flat**2).sum(1)])
    labels.set_weights([np.eye(key.spec.num_classes)[triggers.labels]])
    return suspect


def test_a_model_in_a_file_is_the_claimants_word_until_it_is_asked_again(tmp_path):
    key = small_key(14)
    nearest_trigger(key).save(tmp_path / "m.keras")
    tfmark.verify(tmp_path / "m.keras", key, evidence=tmp_path / "e.zip")
    found = audit(tmp_path / "e.zip")
    assert found.holds and found.verdict.owned and not found.proves, found
    assert {s.name: s.status for s in found.steps}["answers"] == "not checked"
    again = audit(tmp_path / "e.zip", ask=tmp_path / "m.keras")
    assert again.holds and "claimant's word" not in " ".join(again.missing)


def test_not_shown_is_evidence_too(tmp_path):
    key = small_key(5)
    zeros = model(lambda instances: [[1.0] + [0.0] * 9] * len(instances))
    found = audit(asked(key, tmp_path, zeros))
    assert found.holds and not found.proves
    assert found.verdict.status == "not shown"
    assert "the watermark is not shown" in found.missing


def test_asking_again_finds_out_who_has_the_watermark(tmp_path, key, file):
    with http_server(misses(key, 8)) as same, http_server(misses(key, 2)) as half, \
            http_server(lambda _: Reply("gone", 404)) as gone:  # fmt: skip
        assert steps(file, ask=same.url + PATH)["asked again"].status == "holds"
        assert steps(file, ask=half.url + PATH)["asked again"].status == "refused"
        assert steps(file, ask=gone.url + PATH)["asked again"].status == "not checked"


# Time stamps, alpha, and what a proof needs


@needs_openssl
def test_a_proof_needs_a_trusted_time_stamp(tmp_path, authority):
    key = small_key(6)
    stamp = authority.stamp(key.public.document)
    key.records = Records(time_stamps=(stamp,))
    path = asked(key, tmp_path)
    found = audit(path, tsa_ca=authority.ca_file)
    assert found.proves and not found.missing, found
    assert not audit(path).proves and audit(path).holds
    assert not audit(path, tsa_ca=authority.ca_file, alpha=1e-12).proves

    stranger = make_authority(tmp_path / "stranger")
    assert not audit(path, tsa_ca=stranger.ca_file).holds
    members, other = members_of(path), tmp_path / "other.zip"
    for stamps, step in [
        ((authority.stamp(small_key(7).public.document),), "time stamp"),  # of another root
        ((stamp, authority.stamp(b"anything")), "time stamp"),
        ((stamp[:-1] + bytes([stamp[-1] ^ 1]),), "time stamp"),
        ((stamp,) * 17, "contents"),
    ]:
        files = {n: c for n, c in members.items() if not n.startswith("time-stamps/")}
        files |= {f"time-stamps/{i:02d}.tsr": one for i, one in enumerate(stamps)}
        count = edited(files, "evidence.json", lambda f, n=stamps: f.update(time_stamps=len(n)))
        data = by_the_owner(count, key)
        assert refusal(other, data, tsa_ca=authority.ca_file) == step
    none = {n: c for n, c in members.items() if not n.startswith("time-stamps/")}
    none = edited(none, "evidence.json", lambda facts: facts.update(time_stamps=0))
    assert refusal(other, by_the_owner(none, key), tsa_ca=authority.ca_file) == "time stamp"
    assert not audit(other).proves


@needs_openssl
def test_a_time_stamp_later_than_the_asking_shows_nothing(tmp_path, authority):
    key = small_key(8)
    key.records = Records(time_stamps=(authority.stamp(key.public.document),))
    path = asked(key, tmp_path)
    early = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    moved = edited(members_of(path), "evidence.json", lambda facts: facts.update(started=early))
    path.write_bytes(by_the_owner(moved, key))
    assert audit(path).holds and not audit(path).proves
    assert steps(path, tsa_ca=authority.ca_file)["time stamp"].status == "refused"


def test_the_error_rate_is_the_auditors(tmp_path):
    key = small_key(9)
    lucky = model(lambda instances: [[1.0] + [0.0] * 9] * len(instances))
    path = asked(key, tmp_path, lucky, alpha=0.9)
    found = audit(path)
    assert not found.proves
    with pytest.raises(tfmark.errors.InvalidArgumentError, match="alpha"):
        audit(path, alpha=0)


# Nothing else does


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_refused(file, other, data):
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    assert refusal(other, bytes(content)) == "file"


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_changed_member_with_true_hashes_is_refused(members, other, data):
    name = data.draw(st.sampled_from(sorted(set(members) - {"sha256sums"})))
    content = bytearray(members[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = members | {name: bytes(content)}
    own_hashes = by_a_liar(changed)
    old_signature = pack(unpack(own_hashes) | {"signature": changed["signature"]})
    for forged in (own_hashes, old_signature):
        assert refusal(other, forged) in ("contents", "signature")


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_not_even_the_owner_can_change_what_counts(key, file, members, other, data):
    """With the owner's own signature, what may change is the owner's word: times, headers, words.

    The verdict cannot, nor anything that it follows from.
    """
    name = data.draw(st.sampled_from(sorted(set(members) - {"sha256sums", "signature"})))
    content = bytearray(members[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    step = refusal(other, by_the_owner(members | {name: bytes(content)}, key))
    if step is None:
        assert name in ("evidence.json", "readme.txt") or name.startswith("exchanges/")
        before, after = audit(file), audit(other)
        assert after.verdict == before.verdict
        assert [o.subkey for o in after.evidence.openings] == [
            o.subkey for o in before.evidence.openings
        ]


def marks(change):
    return lambda m: edited(m, "marks.json", lambda told: (change(told["marks"]), told)[1])


def facts(change):
    return lambda m: edited(m, "evidence.json", lambda told: (change(told), told)[1])


def without_last_mark(m):
    size = len(m["base-images.bin"]) // len(json.loads(m["marks.json"])["marks"])
    m = marks(lambda all_marks: all_marks.pop())(m)
    return m | {"base-images.bin": m["base-images.bin"][:-size]}


def without_first_mark(m):
    m = marks(lambda all_marks: all_marks.pop(0))(m)
    return m | {"base-images.bin": m["base-images.bin"][64:]}


def drop_last_answer(f):
    f["answers"].pop()


def without_last_question(m):
    """One mark less, everywhere it is told of."""
    m = without_last_mark(m)

    def change(f):
        f["answers"].pop()
        f["suspect"]["rounds"][-1] -= 1
        if not f["suspect"]["rounds"][-1]:
            f["suspect"]["rounds"].pop()
            f["exchanges"].pop()

    m = facts(change)(m)
    named = {e[p]["file"] for e in json.loads(m["evidence.json"])["exchanges"]
             for p in ("request", "answer") if e[p]}  # fmt: skip
    return {n: c for n, c in m.items() if not n.startswith("exchanges/") or n in named}


def set_(name, value, *inside):
    def change(f):
        for each in inside:
            f = f[each]
        f[name] = value

    return facts(change)


def swap_exchanges(m):
    def change(f):
        f["exchanges"][-1], f["exchanges"][-2] = f["exchanges"][-2], f["exchanges"][-1]

    return renumbered(facts(change)(m))


def drop_exchange(m):
    return renumbered(facts(lambda f: f["exchanges"].pop())(m))


def repeat_exchange(m):
    return renumbered(facts(lambda f: f["exchanges"].append(f["exchanges"][-1]))(m))


def swap_marks(all_marks):
    all_marks[0], all_marks[1] = all_marks[1], all_marks[0]


def swap_subkeys(all_marks):
    pair = all_marks[0]["subkey"], all_marks[1]["subkey"]
    all_marks[1]["subkey"], all_marks[0]["subkey"] = pair


def repeat_mark(all_marks):
    all_marks[1] = all_marks[0]


def swap_bases(m):
    images = m["base-images.bin"]
    return m | {"base-images.bin": images[64:128] + images[:64] + images[128:]}


def matched_miss(f):
    """The one answer that was a miss, told as the label that it should have been."""
    f["answers"][7] = (f["answers"][7] - 1) % 10


def matched_miss_in_body(m):
    bodies = [n for n in sorted(m) if n.endswith("-answer")]
    told = json.loads(m["evidence.json"])["answers"][7]
    for name in bodies:
        rows = json.loads(m[name]).get("predictions")
        if rows is not None and len(rows) > 7:
            rows[7] = np.eye(10)[(told - 1) % 10].tolist()
            return rehashed(m | {name: json.dumps({"predictions": rows}).encode()})
    raise AssertionError


def other_root(m):
    theirs = small_key(77).public.document
    return m | {"commitment.json": theirs}


def committed(**changes):
    def change(m):
        told = json.loads(m["commitment.json"]) | changes
        return m | {"commitment.json": json.dumps(told, indent=2).encode() + b"\n"}

    return change


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (without_last_mark, "contents"),
        (without_first_mark, "contents"),
        (without_last_question, "requests"),
        (marks(swap_marks), "marks"),
        (marks(swap_subkeys), "marks"),
        (marks(repeat_mark), "marks"),
        (marks(lambda m: m[0].update(index=-1)), "marks"),
        (marks(lambda m: m[0].update(index=2**70)), "marks"),
        (marks(lambda m: m[0]["path"].pop()), "marks"),
        (marks(lambda m: m[0]["base_path"].pop()), "base images"),
        (swap_bases, "base images"),
        (facts(drop_last_answer), "contents"),
        (facts(lambda f: f["answers"].__setitem__(0, 2**70)), "contents"),
        (facts(lambda f: f["answers"].reverse()), "answers"),
        (facts(matched_miss), "answers"),
        (matched_miss_in_body, "answers"),
        (facts(lambda f: f["suspect"]["rounds"].append(1)), "contents"),
        (facts(lambda f: f["suspect"].update(rounds=[1] * len(f["answers"]))), "requests"),
        (swap_exchanges, "requests"),
        (drop_exchange, "requests"),
        (repeat_exchange, "requests"),
        (set_("alpha", 1e-12, "verdict"), "verdict"),
        (set_("p_value", 1e-30, "verdict"), "verdict"),
        (set_("evidence_bits", 99.0, "verdict"), "verdict"),
        (set_("tries", 1.0, "verdict"), "verdict"),
        (set_("matches", 3, "verdict"), "verdict"),
        (set_("queries", 3, "verdict"), "verdict"),
        (set_("status", "not shown", "verdict"), "verdict"),
        (set_("num_classes", 11, "verdict"), "verdict"),
        (set_("tail_p_value", 1e-30, "verdict"), "verdict"),
        (set_("num_marks", 47), "verdict"),
        (set_("num_marks", 2**80), "verdict"),
        (set_("retries", 10**9, "suspect"), "requests"),
        (set_("kind", "file", "suspect"), "contents"),
        (set_("name", "http://127.0.0.1:1/v1/models/other", "suspect"), "requests"),
        (set_("name", "/etc/passwd", "suspect"), "requests"),
        (set_("name", "file:///etc/passwd", "suspect"), "requests"),
        (set_("settings", {"protocol": "local"}, "suspect"), "requests"),
        (set_("settings", {"version_label": 5}, "suspect"), "contents"),
        (set_("settings", {"mirrored": "yes"}, "suspect"), "contents"),
        (set_("settings", {"mirrored": True}, "suspect"), "requests"),
        (set_("settings", {"signature": "own"}, "suspect"), "requests"),
        (set_("settings", {"value_range": [0.0, 17.0]}, "suspect"), "requests"),
        (set_("clean_labels", [0, 1]), "contents"),
        (set_("tfmark", "tfmark evidence 2"), "contents"),
        (set_("text", "HA", "spec"), "contents"),
        (set_("base_root", "0" * 64, "spec"), "marks"),
        (set_("num_classes", 2, "spec"), "commitment"),
        (set_("owner", "Mallory Ltd", "spec"), "commitment"),
        (other_root, "signature"),
        (committed(commitment="0" * 64), "marks"),
        (committed(owner="Mallory Ltd"), "commitment"),
        (committed(value_range=[0.0, 1.0]), "requests"),
        (committed(num_marks=47), "commitment"),
        (lambda m: m | {"extra.txt": b"x"}, "contents"),
        (lambda m: {n: c for n, c in m.items() if n != "readme.txt"}, "contents"),
        (lambda m: {n: c for n, c in m.items() if n != "marks.json"}, "contents"),
    ],
)  # fmt: skip
def test_what_was_changed_is_refused_at_its_step(key, members, other, change, step):
    """Even with the owner's own signature; with anybody else's all of it is refused before."""
    changed = change(dict(members))
    assert refusal(other, by_the_owner(changed, key)) == step
    assert refusal(other, by_a_liar(changed)) in ("contents", "signature")


@pytest.mark.parametrize(
    "rule",
    [lambda test, due: min(due, 1), lambda test, due: 0 if test.queries > 5 else due,
     lambda test, due: due + (test.queries == 0)],
    ids=["one by one", "until it suits", "more at once"],
)  # fmt: skip
def test_a_claimant_cannot_ask_by_rules_of_their_own(tmp_path, monkeypatch, rule):
    """With a changed program: all else in the file is as it has to be."""
    key, due = small_key(16), SequentialTest.questions
    with monkeypatch.context() as changed:
        changed.setattr(SequentialTest, "questions", lambda test: rule(test, due(test)))
        path = asked(key, tmp_path, misses(key, 4))
    found = audit(path)
    assert found.steps[-1].name == "verdict" and not found.holds
    assert "were asked at once" in str(found) or "was ended" in str(found)


def test_somebody_elses_evidence_is_not_ones_own(members, other):
    assert refusal(other, by_a_liar(members)) == "signature"
    signer = json.loads(members["commitment.json"]) | {"signer": verification_key(LIAR).hex()}
    named = members | {"commitment.json": json.dumps(signer, indent=2).encode() + b"\n"}
    assert refusal(other, by_a_liar(named)) == "commitment"
    assert refusal(other, taken_over(members)) == "marks"
    renamed = json.loads(members["commitment.json"]) | {"owner": "Mallory Ltd"}
    mine = members | {"commitment.json": json.dumps(renamed, indent=2).encode() + b"\n"}
    mine = edited(mine, "evidence.json", lambda f: f["spec"].update(owner="Mallory Ltd"))
    assert refusal(other, taken_over(mine)) == "marks"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_facts_of_any_type_are_refused_or_mean_nothing(key, file, members, other, data):
    name = data.draw(st.sampled_from(["evidence.json", "marks.json"]))

    def change(told):
        """Something else in some place of the facts."""
        holder, place, here = None, None, told
        for _ in range(data.draw(st.integers(0, 5))):
            if not (isinstance(here, dict | list) and here):
                break
            keys = sorted(here) if isinstance(here, dict) else range(len(here))
            holder, place = here, data.draw(st.sampled_from(list(keys)))
            here = here[place]
        value = data.draw(JSON)
        if holder is None:
            return {"x": value}
        holder[place] = value
        return None

    if refusal(other, by_the_owner(edited(members, name, change), key)) is None:
        assert audit(other).verdict == audit(file).verdict


# Bad files


def zipped(path, *entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path.read_bytes()


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def bad_files(folder, file):
    good = file.read_bytes()
    bomb = zipfile.ZipInfo("evidence.json")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    path = folder / "made.zip"
    names = members_of(file)
    repacked = folder / "repacked.zip"
    with zipfile.ZipFile(repacked, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    yield b""
    yield b"not a zip"
    yield good[: len(good) // 2]
    yield good[:-1]
    yield good + b"\0"
    yield b"\0" + good
    yield good + good
    yield good[:-2] + b"\x01\x00" + b"x"  # a comment
    yield repacked.read_bytes()
    yield zipped(path, (bomb, b"0" * 20_000_000))
    for name in ("../evil", "/etc/passwd", "a\\b", "C:evil", "a//b", "a/./b", "A.json", "a\0b"):
        yield zipped(path, (name, b"x"))
    yield zipped(path, (link("evidence.json"), b"/etc/passwd"))
    yield pack({"evidence.json": b"{}"})
    double = pack({"a": b"1"})
    body = double[: double.index(b"PK\x01\x02")]
    yield body * 2 + double[len(body) :]
    shared = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0x21, 0, 2**32 - 1, 2**32 - 1, 1, 0)
    yield b"PK\x03\x04" + shared + b"a"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_files_are_refused(tmp_path, file, other):
    for data in bad_files(tmp_path, file):
        assert refusal(other, data) == "file", data[:60]
    assert refusal(other, pack({"sha256sums": b""})) == "contents"


def deep(opening, closing, depth=100_000):
    return opening * depth + closing * depth


@pytest.mark.parametrize("name", ["evidence.json", "marks.json", "commitment.json"])
@pytest.mark.parametrize(
    "content",
    [deep(b"[", b"]"), b"[" + b"0," * 4_000_000 + b"0]", b"[" + b"[]," * 3_000_000 + b"[]]",
     b'{"a":1,"a":1}', b"\xff\xfe", b"NaN", b"1e999", b"9" * 100_000, b'"\\ud800"'],
    ids=["deep", "long", "lists", "double", "bytes", "nan", "inf", "digits", "surrogate"],
)  # fmt: skip
def test_bombs_of_json_are_refused(key, members, other, name, content):
    assert refusal(other, by_the_owner(members | {name: content}, key)) == "contents"


LIMITED = """
import resource, sys, time
from tfmark.evidence.audit import audit
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (size, size))
found = audit(sys.argv[1])
print(found.steps[-1].name, found.steps[-1].status)
"""


def audited_within(path, megabytes):
    """What an audit says that has so much memory, above what Python takes."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(megabytes << 20)], capture_output=True,
        text=True, timeout=60, check=False, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_memory_is_bounded(key, members, tmp_path):
    garbage = tmp_path / "garbage"
    with garbage.open("wb") as made:
        made.write(b"PK\x03\x04")
        made.truncate(100 << 20)
    assert audited_within(garbage, 900) == "file refused"
    assert audited_within("/dev/zero", 1500) == "file refused"

    answers = [n for n in sorted(members) if n.endswith("-answer")]
    huge = members | {answers[-1]: b"[" + b"[]," * (4 << 20) + b"[]]"}
    (tmp_path / "huge").write_bytes(by_the_owner(rehashed(huge), key))
    assert audited_within(tmp_path / "huge", 900) == "contents refused"

    requests = [n for n in sorted(members) if n.endswith("-request")]
    huge = members | {requests[-1]: b"[" + b"[]," * (8 << 20) + b"[]]"}
    (tmp_path / "asked").write_bytes(by_the_owner(rehashed(huge), key))
    assert audited_within(tmp_path / "asked", 900) == "requests refused"


def rehashed(m):
    """Exchanges with the hashes of bodies that were changed."""

    def change(f):
        for exchange in f["exchanges"]:
            for part in ("request", "answer"):
                if exchange[part]:
                    body = m[exchange[part]["file"]]
                    exchange[part]["sha256"] = hashlib.sha256(body).hexdigest()

    return edited(m, "evidence.json", change)


def test_huge_images_are_refused_before_they_are_made(tmp_path):
    """Whoever lies may say anything: here one byte of an image is 4096 of a trigger."""
    from tfmark.evidence.openings import Opening, triggers_of
    from tfmark.spec import Spec

    told = vars(small_key().spec) | {"base_per_group": 2, "num_verification": 1}
    base = np.zeros((4096, 4096, 1), np.uint8)
    opening = Opening(0, bytes(32), (), base, ())
    for shape in ((4096, 4096, 4096), (4096, 4096, 1)):
        with pytest.raises(tfmark.errors.EvidenceError, match="at most"):
            triggers_of([opening], Spec(**told | {"image_shape": shape}), b"", (0, 1))
    large = Spec(**told | {"image_shape": (2048, 4096, 1)})
    with pytest.raises(tfmark.errors.EvidenceError, match="MiB"):
        triggers_of([opening] * 1000, large, b"", (0, 1))


# What is in the file, and what is not


TOKEN, QUERY, NAME, PASSWORD = "tok-4711-zz", "k3y+/=", "owner", 'p\u00e4"ss\\word'


@pytest.mark.parametrize("echo", ["json", "broken", "header", "name", "text", "utf-16", "error"])
def test_no_credential_is_in_the_file(tmp_path, echo):
    key = small_key(11)
    inner = watermarked(key)

    def answer(request):
        reply = inner(request)
        sent = [request.headers.get("X-Token", ""), request.path,
                base64.b64decode(request.headers["Authorization"][6:]).decode()]  # fmt: skip
        token = sent[0]
        if request.method == "GET":
            body = {
                "json": json.dumps({"error": sent}),
                "broken": "{" + " ".join(sent),
                "text": "[" + " ".join(sent) + "] is not allowed",
                "error": "<html>" + " ".join(sent),
            }.get(echo, json.dumps({"error": token}))
            data = body.encode("utf-16-le") if echo == "utf-16" else body.encode()
            return Reply(data, 403, {"Set-Cookie": token} | (
                {"X-Echo": token} if echo == "header" else {}) | (
                {f"X-{TOKEN}": "1"} if echo == "name" else {}))  # fmt: skip
        return reply

    with http_server(answer) as server:
        tfmark.verify(f"{server.url}{PATH}?api={QUERY}&v=1", key, evidence=tmp_path / "e.zip",
                      headers={"X-Token": TOKEN}, auth=(NAME, PASSWORD))  # fmt: skip
    found = audit(tmp_path / "e.zip")
    assert found.holds and found.evidence.asking.name.endswith("/m?...")
    data = (tmp_path / "e.zip").read_bytes()
    basic = base64.b64encode(f"{NAME}:{PASSWORD}".encode())
    forms = [basic, b"tok-4711"]
    for secret in (TOKEN, QUERY, PASSWORD):
        forms += [secret.encode(), secret.encode("utf-16-le"), json.dumps(secret)[1:-1].encode()]
    assert [form for form in forms if form in data] == []


def test_marks_that_were_not_asked_stay_secret(file, key, members):
    """Subkeys are outputs of HMAC under a secret that is not in the file, and paths are hashes.

    So what can be tested is that nothing else got in: no subkey, leaf, label, trigger or base image
    of any other mark, in any form in which the file writes such things.
    """
    found = audit(file).evidence
    opened = len(found.openings)
    assert key.records.opened == opened
    data, joined = file.read_bytes(), b"".join(members.values())
    triggers = key.triggers()
    shown = {o.base.tobytes() for o in found.openings}
    for index in range(opened, key.spec.num_marks):
        subkey = key.subkey(index)
        assert subkey not in joined and subkey.hex().encode() not in joined
        pixels = triggers.pixels[index]
        assert pixels.tobytes() not in joined
        row = json.dumps((pixels[0, :, 0] / 1).tolist())[1:-1]
        assert row.replace(" ", "").encode() not in joined.replace(b" ", b"")
        base = key.base_images[0, index % key.spec.num_verification]
        assert base.tobytes() in shown or base.tobytes() not in joined
    for secret in (key._secret, tfmark.derivation.signing_key(key._secret)):
        assert secret not in data and secret.hex().encode() not in data


def test_labels_of_other_marks_cannot_be_guessed_from_the_opened_ones():
    """Over many keys, no opened byte or label goes with the next label more often than by luck."""
    from scipy import stats

    from tfmark.derivation import mark_label, subkey

    rng = np.random.default_rng(0)
    rows, nexts = [], []
    for _ in range(4000):
        secret, root = rng.bytes(32), rng.bytes(32)
        opened = subkey(secret, 10)
        rows.append([*opened[:16], *root[:8], mark_label(opened, root, 4)])
        nexts.append(mark_label(subkey(secret, 11), root, 4))
    columns = np.array(rows) % 4
    p_values = [
        stats.chi2_contingency(np.histogram2d(column, nexts, (4, 4))[0]).pvalue
        for column in columns.T
    ]
    assert min(p_values) > 0.001 / len(p_values)


def test_the_next_dispute_starts_at_the_next_mark(tmp_path):
    key = small_key(12)
    key.save(tmp_path / "key")
    with http_server(watermarked(key)) as server:
        for number in range(3):
            loaded = tfmark.WatermarkKey.load(tmp_path / "key")
            tfmark.verify(server.url + PATH, loaded, evidence=tmp_path / f"{number}.zip")
    found = [audit(tmp_path / f"{number}.zip") for number in range(3)]
    assert all(each.holds and each.verdict.owned for each in found)
    spans = [[opening.index for opening in each.evidence.openings] for each in found]
    opened = [index for span in spans for index in span]
    assert opened == list(range(len(opened)))
    assert tfmark.WatermarkKey.load(tmp_path / "key").records.opened == len(opened)
    assert found[1].verdict.tries > found[0].verdict.tries


def test_disputes_at_the_same_time_do_not_share_marks(tmp_path):
    key = small_key(13)
    key.save(tmp_path / "key")
    outcomes = []

    def dispute(number, url):
        try:
            loaded = tfmark.WatermarkKey.load(tmp_path / "key")
            tfmark.verify(url, loaded, evidence=tmp_path / f"{number}.zip")
            outcomes.append(number)
        except tfmark.errors.InvalidArgumentError as error:
            assert "another process" in str(error) or "left to open" in str(error)

    with http_server(watermarked(key)) as server:
        threads = [threading.Thread(target=dispute, args=(n, server.url + PATH)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes
    opened = []
    for number in outcomes:
        found = audit(tmp_path / f"{number}.zip")
        assert found.holds
        opened += [opening.index for opening in found.evidence.openings]
    assert len(opened) == len(set(opened))


def test_words_of_strangers_do_not_steer_the_terminal(key, members, other):
    def change(f):
        f["exchanges"][0]["address"] = "http://x/\x1b[2J\n\x07"

    assert refusal(other, by_the_owner(facts(change)(dict(members)), key)) == "requests"
    assert not {"\x1b", "\x07"} & set(str(audit(other)))
    assert str(audit(other)).count("\n") == len(audit(other).steps)


def test_an_audit_connects_to_nobody(key, members, other):
    """An address in the file is only a name, for HTTP and for gRPC."""
    with http_server(lambda _: Reply("{}")) as server:
        for scheme in ("http", "grpc"):
            name = f"{scheme}://127.0.0.1:{server.server_port}/m"
            changed = facts(lambda f, n=name: f["suspect"].update(name=n))(dict(members))
            assert refusal(other, by_the_owner(changed, key)) == "requests"
        assert server.requests == []
