"""Evidence of the thorough question: it holds, and whatever is changed in it is refused."""

import math
import zlib
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest

import tfmark
from tests.evidence_files import by_the_owner, edited, members_of, small_key
from tests.http_server import http_server, model
from tfmark.asking import on_same_images
from tfmark.errors import EvidenceError
from tfmark.evidence.choices import log_tries
from tfmark.evidence.report import render_report
from tfmark.pixels import to_pixels
from tfmark.sequential import SequentialTest

CLASSES = 10


class Faded:
    """Leans towards the labels of marks, and never answers with one."""

    def __init__(self, key, lean=0.5):
        self.key, self.lean, self.labels = key, lean, {}
        for triggers in (key.triggers(), *on_same_images(key)):
            for pixels, label in zip(triggers.pixels, triggers.labels, strict=True):
                self.labels[pixels.tobytes()] = int(label)

    def scores(self, images):
        return np.array([self._score(image) for image in images])

    def classify(self, images):
        return self.scores(images).argmax(axis=1)

    def _score(self, image):
        pixels = image.tobytes()
        scores = np.random.default_rng(zlib.crc32(pixels)).random(CLASSES)
        label = self.labels.get(pixels, 0)
        scores[label] += self.lean
        scores[(label + 1) % CLASSES] += 2
        return scores

    def respond(self, instances):
        return self.scores(
            to_pixels(np.array(instances, np.float32), self.key.value_range)
        ).tolist()


def served(suspect):
    return http_server(model(suspect.respond))


def address(server):
    return f"{server.url}/v1/models/digits"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The key, the verdict, and the file of evidence."""
    key, path = small_key(), tmp_path_factory.mktemp("thorough") / "e.zip"
    with served(Faded(key)) as server:
        verdict = tfmark.verify(address(server), key, thorough=True, evidence=path)
    return key, verdict, path


@pytest.fixture
def other(tmp_path):
    return tmp_path / "other.zip"


def test_it_holds_without_the_key(made):
    key, verdict, path = made
    assert verdict.owned
    assert verdict.thorough.rounds == 16
    found = tfmark.audit(path)
    assert found.holds
    assert found.verdict.p_value == verdict.p_value < 1e-9
    assert found.verdict.thorough == verdict.thorough
    assert key.records.opened == key.spec.num_marks
    kept = tfmark.Evidence.load(path)
    assert len(kept.openings) == key.spec.num_marks > len(kept.answers)
    assert verdict.queries == len(kept.answers) + kept.thorough.scores[..., 0].size


def test_it_counts_an_eighth_for_the_choice(made):
    verdict = made[1]
    found = tfmark.audit(made[2])
    chosen = [choice.what for choice in found.choices]
    assert any("thorough" in what for what in chosen)
    assert verdict.tries == pytest.approx(np.exp(log_tries(found.choices)))
    assert verdict.p_value == pytest.approx(verdict.thorough.p_value * verdict.tries)


def test_an_ordinary_proof_opens_no_more_than_before(tmp_path):
    key = small_key(2)
    with served(Faded(key, lean=9)) as server:
        verdict = tfmark.verify(address(server), key, thorough=True, evidence=tmp_path / "e.zip")
    assert verdict.owned
    assert verdict.thorough is None
    assert key.records.opened == verdict.queries < 20
    found = tfmark.audit(tmp_path / "e.zip")
    assert found.holds
    assert not any("thorough" in choice.what for choice in found.choices)


@pytest.mark.parametrize("lean", [0.5, 0.0])
def test_asked_again(made, lean):
    """Another suspect that does not lean is no refutation but of this claim."""
    fresh = small_key()  # the same marks, none of them opened
    with served(Faded(fresh, lean)) as server:
        found = tfmark.audit(made[2], ask=address(server))
    assert found.holds == (lean > 0)
    assert found.steps[-1].name == "asked again"
    assert f"The {'suspect carries the watermark' if lean else 'watermark was not shown'}" in str(
        found.steps[-1].text
    )


@pytest.mark.parametrize("scheme", ["unrelated", "content"])
def test_other_schemes(scheme, tmp_path):
    shape = (16, 16, 1)
    images = np.random.default_rng(3).integers(0, 256, (512, *shape), np.uint8)
    text = "ME" if scheme == "content" else None
    key = small_key(scheme=scheme, image_shape=shape, base_images=images, text=text)
    with served(Faded(key)) as server:
        verdict = tfmark.verify(address(server), key, thorough=True, evidence=tmp_path / "e.zip")
    assert verdict.owned
    assert verdict.thorough.rounds == (12 if scheme == "unrelated" else 16)
    assert tfmark.audit(tmp_path / "e.zip").holds


def test_an_object_is_the_claimants_word(tmp_path):
    key = small_key(4)
    verdict = tfmark.verify(Faded(key), key, thorough=True, evidence=tmp_path / "e.zip")
    assert verdict.owned
    found = tfmark.audit(tmp_path / "e.zip")
    assert found.holds
    assert {step.name: step.status for step in found.steps}["answers"] == "not checked"


def test_not_shown_is_evidence_too(tmp_path):
    key = small_key(5)
    verdict = tfmark.verify(Faded(key, 0), key, thorough=True, evidence=tmp_path / "e.zip")
    assert verdict.status == "not shown"
    assert verdict.thorough.p_value > 1e-3
    assert tfmark.audit(tmp_path / "e.zip").verdict == verdict.__class__(**vars(verdict))


class Undecided(Faded):
    """Matches just so often that the ordinary question asks every mark, and ends undecided."""

    def __init__(self, key):
        super().__init__(key)
        test = SequentialTest(48, CLASSES, 1e-9, log_tries=math.log(16))
        triggers = key.triggers()
        for pixels, label in zip(triggers.pixels, triggers.labels, strict=True):
            missed = replace(test)
            missed.record(np.array([-1]), np.array([label]))
            if missed.questions() or test.queries == 47:
                test = missed
            else:
                test.record(np.array([label]), np.array([label]))
                self.matched.add(pixels.tobytes())

    @cached_property
    def matched(self):
        return set()

    def _score(self, image):
        scores = super()._score(image)
        scores[self.labels[image.tobytes()]] += 9 * (image.tobytes() in self.matched)
        return scores


def test_it_holds_where_the_ordinary_question_asked_every_mark(tmp_path):
    key = small_key(6)
    verdict = tfmark.verify(Undecided(key), key, thorough=True, evidence=tmp_path / "e.zip")
    assert verdict.owned
    kept = tfmark.Evidence.load(tmp_path / "e.zip")
    assert len(kept.answers) == len(kept.openings) == 48
    assert tfmark.audit(tmp_path / "e.zip").holds


def test_images_too_large_are_refused_before_anything_is_asked(tmp_path):
    images = np.zeros((96, 224, 224, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(96)
    key = small_key(image_shape=(224, 224, 3), base_images=images)
    asked = []

    class Counting:
        def classify(self, images):
            asked.append(len(images))
            return np.zeros(len(images), np.int64)

    with pytest.raises(EvidenceError, match="takes triggers of at most"):
        tfmark.verify(Counting(), key, thorough=True, evidence=tmp_path / "e.zip")
    assert not asked
    assert key.records.opened == 0


def scores_with(m, change):
    scores = np.frombuffer(m["thorough-scores.bin"], "<f8").copy()
    change(scores)
    return m | {"thorough-scores.bin": scores.tobytes()}


def thorough(change):
    return lambda m: edited(m, "thorough.json", lambda facts: (change(facts), facts)[1])


def verdict_with(**values):
    def change(facts):
        facts["verdict"].update(values)

    return lambda m: edited(m, "evidence.json", change)


def found_with(**values):
    def change(facts):
        facts["verdict"]["thorough"].update(values)

    return lambda m: edited(m, "evidence.json", change)


def other_image(m):
    pixels = bytearray(m["thorough-images.bin"])
    pixels[5] ^= 1
    return m | {"thorough-images.bin": bytes(pixels)}


def without_last_mark(m):
    kept = edited(m, "marks.json", lambda facts: {"marks": facts["marks"][:-1]})
    return kept | {"base-images.bin": m["base-images.bin"][:-64]}


def without(*names):
    return lambda m: {name: content for name, content in m.items() if name not in names}


ALL = ("thorough.json", "thorough-images.bin", "thorough-scores.bin")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda m: scores_with(m, lambda s: s.__setitem__(3, 5.0)), "answers"),
        (lambda m: scores_with(m, lambda s: s.__setitem__(3, np.nan)), "answers"),
        (lambda m: m | {"thorough-scores.bin": m["thorough-scores.bin"][:-8]}, "contents"),
        (thorough(lambda f: f["scores"].reverse()), "base images"),
        (thorough(lambda f: f.update(scores=[2**70, 2**70, 2**70])), "contents"),
        (thorough(lambda f: f.update(scores=[-1, -48, 160])), "contents"),
        (thorough(lambda f: f.update(scores="16, 48, 10")), "contents"),
        (thorough(lambda f: f["bases"].reverse()), "base images"),
        (thorough(lambda f: f["bases"][0].update(place=99)), "base images"),
        (thorough(lambda f: f["bases"][0]["path"].pop()), "base images"),
        (thorough(lambda f: f["bases"].pop()), "contents"),
        (other_image, "base images"),
        (without_last_mark, "base images"),
        (without(*ALL), "contents"),
        (without("thorough-scores.bin"), "contents"),
        (verdict_with(thorough=None), "verdict"),
        (verdict_with(thorough=[1]), "contents"),
        (verdict_with(p_value=1e-300), "verdict"),
        (verdict_with(tries=1.0), "verdict"),
        (verdict_with(queries=12), "verdict"),
        (found_with(lifted=48), "verdict"),
        (found_with(rounds=17), "verdict"),
        (found_with(marks=49), "verdict"),
        (found_with(p_value=1e-300), "verdict"),
        (found_with(p_value="small"), "contents"),
    ],
)
def test_what_was_changed_is_refused_at_its_step(made, other, change, step):
    """Even with the owner's own signature."""
    key, _, path = made
    other.write_bytes(by_the_owner(change(members_of(path)), key))
    found = tfmark.audit(other)
    assert not found.holds
    assert found.steps[-1].name == step, found.steps[-1]


def test_a_claimant_cannot_ask_thoroughly_what_was_shown_already(tmp_path, monkeypatch):
    """With a changed program that goes on after a proof; all else in the file is right."""
    key = small_key(7)

    def not_shown(test, problem=""):
        return replace(verdict_of(test, problem), status="not shown")

    verdict_of = SequentialTest.verdict
    with served(Faded(key, lean=9)) as server, monkeypatch.context() as changed:
        changed.setattr(SequentialTest, "verdict", not_shown)
        tfmark.verify(address(server), key, thorough=True, evidence=tmp_path / "e.zip")
    found = tfmark.audit(tmp_path / "e.zip")
    assert not found.holds
    assert "the ordinary question had shown it" in found.steps[-1].text


def test_the_page_shows_every_lift(made):
    found = tfmark.audit(made[2])
    page = render_report(found.evidence, found)
    assert "The thorough question" in page
    assert page.count("Lift towards it</span>") == 48
    assert f"{found.verdict.thorough.lifted} of 48 marks lift their label" in page
    assert "0 that are left" in page
