"""The key: what follows from the secret never changes, and what is secret never shows."""

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfmark import WatermarkKey
from tfmark.derivation import Stream, subkey
from tfmark.errors import InvalidArgumentError

SECRET = bytes(range(32))
KNOWN = json.loads((Path(__file__).parent / "data" / "known_answers.json").read_text("utf-8"))
SHAPES = {
    "content": (28, 28, 1),
    "unrelated": (28, 28),
    "noise": (32, 32, 3),
    "foreign": (32, 32, 3),
}


def ramp(count, *shape):
    """Images that all differ, from arithmetic alone."""
    return (np.arange(count * np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(count, *shape)


def generate(scheme="noise", **options):
    """A key of a scheme; "foreign" is the unrelated scheme with the owner's foreign images."""
    options.setdefault("image_shape", SHAPES.get(scheme, (28, 28, 1)))
    options.setdefault("num_classes", 10)
    options.setdefault("secret", SECRET)
    if "base_images" not in options:
        options["base_images"] = ramp(96, *options["image_shape"])
    if scheme == "content":
        options.setdefault("text", "TFMARK")
    if scheme == "foreign":
        scheme = "unrelated"
        options.setdefault("unrelated_images", (ramp(40, 28, 28), np.arange(40) % 5))
    return WatermarkKey.generate(scheme=scheme, **options)


def answers(scheme, version):
    key = generate(scheme, base_images=ramp(100, *SHAPES[scheme]))
    if version == "1":
        first = replace(key.spec, bound="")
        key = WatermarkKey(SECRET, first, key.base_images, key.value_range)
    triggers = key.triggers(per_mark=2)
    return {
        "commitment": key.commitment,
        "labels": triggers.labels[:12].tolist(),
        "pixels": hashlib.sha256(triggers.pixels.tobytes()).hexdigest(),
    }


@pytest.mark.parametrize("version", KNOWN)
@pytest.mark.parametrize("scheme", SHAPES)
def test_known_answers(scheme, version):
    """If this fails, the change breaks every key in the world: it needs a new format."""
    assert answers(scheme, version) == KNOWN[version][scheme]


@pytest.mark.parametrize("scheme", SHAPES)
def test_commitment_and_labels_are_those_of_the_design(scheme):
    """Recomputed with `hashlib` alone, in the other direction: bottom-up, byte by byte."""
    key = generate(scheme)
    count, spec = key.spec.num_marks, key.spec.canonical()
    numbers = [index.to_bytes(4, "big") for index in range(count)]
    keys = [hmac.digest(SECRET, b"tfmark/v1/mark" + number, "sha256") for number in numbers]
    leaves = zip(numbers, keys, strict=True)
    level = [hashlib.sha256(b"tfmark/v1/leaf" + n + k + spec).digest() for n, k in leaves]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [
            hashlib.sha256(b"tfmark/v1/node" + b"".join(pair)).digest() if pair[1:] else pair[0]
            for pair in pairs
        ]
    assert key.commitment == level[0].hex()
    draws = [hashlib.shake_256(k + level[0] + b"label").digest(4) for k in keys]
    labels = [int.from_bytes(draw, "big") % 10 for draw in draws]  # none is among the last six
    assert [mark.label for mark in key.marks] == labels


@pytest.mark.parametrize(
    "change",
    [{"base_images": ramp(98, 32, 32, 3)}, {"num_marks": 47}, {"num_classes": 11}],
    ids=lambda change: next(iter(change)),
)
def test_labels_depend_on_the_commitment(change):
    """Nobody can keep some marks and try others until the labels suit a model."""
    key, other = generate(), generate(**{"num_marks": 48} | change)
    assert key.commitment != other.commitment
    same = [a.label == b.label for a, b in zip(key.marks, other.marks, strict=False)]
    assert np.mean(same) < 0.35
    shifts = [a.pattern.shift for a in key.marks[:1] + other.marks[:1]]
    assert (shifts[0] != shifts[1]).any()


def test_the_value_range_changes_neither_labels_nor_triggers():
    keys = [generate(value_range=value_range) for value_range in [(0, 255), (-1, 1)]]
    assert keys[0].commitment == keys[1].commitment
    np.testing.assert_array_equal(*(key.triggers().pixels for key in keys))


def test_a_new_key_has_a_new_secret():
    assert generate(secret=None).commitment != generate(secret=None).commitment


@pytest.mark.parametrize(("num_classes", "num_marks"), [(10, 48), (2, 256), (1000, 16)])
def test_default_number_of_marks(num_classes, num_marks):
    key = generate(num_classes=num_classes, base_images=ramp(512, 6, 5, 1), image_shape=(6, 5, 1))
    assert len(key.marks) == key.spec.num_marks == num_marks
    assert {mark.label for mark in key.marks} <= set(range(num_classes))


def test_splits_are_disjoint_and_used():
    """Base image i is of level i, so that a trigger tells which one is under its plate."""
    levels = np.arange(97, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (97, 28, 28, 1))
    key = generate("content", base_images=images, text="A", num_marks=40)
    used = {}
    for split in ("verification", "embedding"):
        triggers = key.triggers(per_mark=60, split=split)
        free = [key.marks[index].pattern.scale == 1 for index in triggers.marks]
        seen = [np.unique(t[f]) for t, f in zip(triggers.pixels, free, strict=True)]
        assert {len(levels) for levels in seen} == {1}
        used[split] = {int(levels[0]) for levels in seen}
    assert used["verification"].isdisjoint(used["embedding"])
    assert used["verification"] | used["embedding"] == set(range(97))
    assert len(used["verification"]) == key.spec.num_verification == 48
    clean = key.clean_images(1000)
    assert {int(level) for level in np.unique(clean)} == used["embedding"]
    assert clean.shape == (49, 28, 28, 1)


@pytest.mark.parametrize("scheme", SHAPES)
def test_triggers_ask_each_mark_in_order_on_new_base_images(scheme):
    key = generate(scheme)
    triggers = key.triggers(per_mark=2)
    count = key.spec.num_marks
    assert len(triggers) == 2 * count
    assert triggers.marks.tolist() == [*range(count)] * 2
    assert triggers.labels.tolist() == [mark.label for mark in key.marks] * 2
    assert triggers.labels.dtype == np.int64
    assert triggers.pixels.shape == (2 * count, *key.spec.image_shape)
    distinct = {pixels.tobytes() for pixels in triggers.pixels}
    assert len(distinct) == 2 * count


@pytest.mark.parametrize("scheme", SHAPES)
def test_no_model_has_seen_the_triggers_of_verification(scheme):
    key = generate(scheme)
    sets = [key.triggers(50, split).pixels for split in ("verification", "embedding")]
    kept, trained = ({pixels.tobytes() for pixels in pool} for pool in sets)
    assert len(kept & trained) == 0


def test_one_trigger_a_mark_is_the_beginning_of_two():
    key = generate()
    np.testing.assert_array_equal(key.triggers().pixels, key.triggers(per_mark=2).pixels[:48])


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1), (-1, 1), (-123.5, 151)])
@pytest.mark.parametrize("scheme", ["content", "unrelated"])
def test_images_have_the_scale_of_the_pipeline(scheme, value_range):
    low, high = value_range
    triggers = generate(scheme, value_range=value_range).triggers()
    assert triggers.images.dtype == np.float32
    expected = low + triggers.pixels / 255 * (high - low)
    np.testing.assert_allclose(triggers.images, expected, atol=1e-6 * (high - low))
    assert triggers.images.min() == np.float32(low)
    assert triggers.images.max() == np.float32(high)


@pytest.mark.parametrize("scale", [1, 255])
def test_the_scale_is_inferred_and_does_not_change_the_key(scale):
    images = ramp(96, 28, 28, 1)
    key = generate(base_images=(images / 255 * scale).astype(np.float32), image_shape=(28, 28, 1))
    assert key.value_range == (0, scale)
    assert key.commitment == generate(base_images=images, image_shape=(28, 28, 1)).commitment


@pytest.mark.parametrize("scheme", SHAPES)
def test_nothing_secret_shows(scheme):
    key = generate(scheme)
    triggers = key.triggers()
    shown = "\n".join(
        show(thing) for thing in (key, triggers, *key.marks) for show in (repr, str, "{}".format)
    )
    assert key.commitment in shown
    secrets = [SECRET, *(subkey(SECRET, index) for index in range(key.spec.num_marks))]
    hidden = [text for secret in secrets for text in (secret.hex(), repr(secret)[2:-1])]
    hidden += [str(triggers.labels)[1:20], str(triggers.labels.tolist())[1:20], "label", "pixels"]
    assert [text for text in hidden if text in shown] == []


def test_foreign_images_of_the_owner():
    """Grey digits of 28 pixels for a model of colour images of 32 pixels."""
    key = generate("foreign", num_marks=None)
    assert key.spec.base_shape == (5, 8, 32, 32, 1)
    assert key.spec.num_verification == 2
    assert key.spec.num_marks == 40  # eight tones a group, fewer than the default of 48
    assert key.triggers().pixels.shape == (40, 32, 32, 3)
    assert generate("foreign", num_marks=12).spec.num_marks == 12


@pytest.mark.parametrize("scheme", ["content", "unrelated", "noise"])
def test_images_without_an_axis_of_channels(scheme):
    key = generate(scheme, image_shape=(28, 30), value_range=(0, 1))
    assert key.triggers().images.shape == (48, 28, 30)
    assert key.clean_images(3).shape == (3, 28, 30)


def test_a_key_of_lists_and_of_another_kind_of_text():
    key = generate("content", base_images=ramp(96, 28, 28, 1).tolist(), text="acme-1")
    assert key.spec.num_marks == 48


NO_IMAGES = {"base_images": None, "value_range": (0, 255)}
GREY = {"image_shape": (28, 28, 1), "base_images": ramp(96, 28, 28, 1)}
CONSTANT = np.full((96, 28, 28, 1), 7, np.uint8)
PAIR = (ramp(16, 28, 28), np.arange(16) % 2)


@pytest.mark.parametrize(
    ("scheme", "options", "expected"),
    [
        ("noise", {"num_classes": 1}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_classes": "10"}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_classes": 10.0}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_classes": True}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_classes": None}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_classes": [10]}, "`num_classes`. Expected a number from 2"),
        ("noise", {"num_marks": 0}, "`num_marks`. Expected a number from 1"),
        ("noise", {"num_marks": "48"}, "`num_marks`. Expected a number from 1"),
        ("noise", {"num_marks": 1 << 20}, "`num_marks`. Expected a number from 1"),
        ("noise", {"base_images": ramp(95, 28, 28, 1)}, "Expected at least 96.*Received: 95"),
        ("noise", {"base_images": ramp(96, 28, 28)}, r"Expected .* shape \(n, 28, 28, 1\)"),
        ("noise", {"base_images": None}, "Expected `base_images` or `value_range`"),
        ("noise", NO_IMAGES, "Expected `base_images` as an array"),
        ("noise", {"base_images": CONSTANT}, "Expected different base images"),
        ("noise", {"base_images": CONSTANT * np.nan}, "an array of finite numbers"),
        ("noise", {"base_images": CONSTANT * 0.3}, "Cannot tell how.*`value_range`"),
        ("noise", {"base_images": [[[1, 2]], [[1]]]}, "an array of finite numbers"),
        ("noise", {"value_range": (1, 0)}, "`value_range`. Expected two finite numbers"),
        ("noise", {"image_shape": (28,)}, r"`image_shape`. Expected \(height, width\)"),
        ("noise", {"image_shape": (0, 28, 1)}, r"`image_shape`. Expected \(height, width\)"),
        ("noise", {"image_shape": (None, 28, 1)}, r"`image_shape`. Expected \(height, width\)"),
        ("noise", {"image_shape": 28}, r"`image_shape`. Expected \(height, width\)"),
        ("noise", {"image_shape": (28.5, 28, 1)}, r"`image_shape`. Expected \(height, width\)"),
        ("noise", {"text": "TFMARK"}, "`text`. Expected some text for scheme"),
        ("noise", {"unrelated_images": PAIR}, '`unrelated_images` are for scheme="unrelated"'),
        ("noise", {"secret": bytes(31)}, "Expected a secret of 32 bytes"),
        ("noise", {"secret": "x" * 32}, "Expected a secret of 32 bytes"),
        ("blue", {}, "`scheme`. Expected one of 'content', 'unrelated', 'noise'"),
        (None, {}, "`scheme`. Expected one of 'content', 'unrelated', 'noise'"),
        ("content", {"text": None}, "`text`. Expected some text for scheme"),
        ("content", {"text": ""}, "`text`. Expected some text for scheme"),
        ("content", {"text": 5}, "`text`. Expected at most 64 characters"),
        ("content", {"text": "A" * 65}, "`text`. Expected at most 64 characters"),
        ("content", {"text": "CAF\u00c9"}, "Expected letters, digits, spaces"),
        ("content", {"text": "  "}, "Expected letters, digits, spaces"),
        ("content", {"text": "TFMARKS"}, "too small for the text. Expected at least 7x29"),
        (
            "content",
            {"image_shape": (6, 90, 1), "base_images": ramp(96, 6, 90, 1)},
            "too small for the text. Expected at least 7x25",
        ),
        ("unrelated", {"image_shape": (6, 9, 1)}, "too small.*Expected at least 7x7"),
        ("unrelated", {"base_images": None}, "Expected `base_images` or `value_range`"),
        ("unrelated", {"unrelated_images": PAIR, "num_marks": 13}, "Expected at most 12"),
        ("unrelated", {"unrelated_images": (PAIR[0], PAIR[1] * 0)}, "at least two class ids"),
        ("unrelated", {"unrelated_images": (PAIR[0][:15], PAIR[1][:15])}, "at least 8 images"),
        ("unrelated", {"unrelated_images": PAIR[:1]}, "Expected `unrelated_images` as"),
        ("unrelated", {"unrelated_images": PAIR[0]}, "Expected `unrelated_images` as"),
    ],
)
def test_refusals(scheme, options, expected):
    with pytest.raises(InvalidArgumentError, match=expected) as caught:
        generate(scheme, **GREY | options)
    assert SECRET.hex() not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"split": "test"}, "`split`. Expected 'verification' or 'embedding'"),
        ({"per_mark": 0}, "`per_mark`. Expected a positive number"),
        ({"per_mark": 1.5}, "`per_mark`. Expected a positive number"),
    ],
)
def test_refusals_of_triggers(options, expected):
    with pytest.raises(InvalidArgumentError, match=expected):
        generate().triggers(**options)


def test_the_order_of_base_images_is_secret():
    """Which images are kept for verification follows from the secret."""
    keys = [generate(secret=secret) for secret in (SECRET, bytes(32))]
    kept = [{image.tobytes() for image in key.base_images[0, :48]} for key in keys]
    assert 10 < len(kept[0] & kept[1]) < 40
    assert Stream(SECRET, b"tfmark/v1/order").shuffled(96) != list(range(96))


def test_numbers_of_numpy_are_numbers():
    key = generate("noise", num_classes=np.int64(10), num_marks=np.int32(8))
    assert (key.spec.num_classes, key.spec.num_marks) == (10, 8)
