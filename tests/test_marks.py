"""What marks do to an image, and that their triggers reach a server exactly."""

import hashlib
import io
import itertools
import json

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from tfmark import WatermarkKey, marks
from tfmark.derivation import Stream
from tfmark.errors import InvalidArgumentError
from tfmark.marks import unrelated
from tfmark.marks.affine import Affine
from tfmark.marks.content import check_text
from tfmark.marks.font import write
from tfmark.marks.tones import tones
from tfmark.pixels import to_pixels
from tfmark.spec import Spec

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -.:/_+!?&#@"


def spec(scheme, shape, groups=1, text=""):
    channels = shape[2] if len(shape) == 3 and scheme != "unrelated" else 1
    return Spec(scheme, shape, 10, 12, text, groups, 8, channels, 2, "0" * 64)


def draw(facts, index=0, seed=0):
    return marks.draw(facts, index, Stream(bytes([seed, index])))


def ramp(*shape):
    return (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)


def plates(facts, trigger, wanted):
    """Places where the text on its plate explains all `wanted` pixels in them: brute force."""
    for turns, (paper, ink), size in itertools.product(
        range(4), tones(facts.shape[2]), range(1, 5)
    ):
        dots = np.rot90(np.pad(write(facts.text), 1), turns)
        dots = dots.repeat(size, axis=0).repeat(size, axis=1)
        if dots.shape[0] > facts.shape[0] or dots.shape[1] > facts.shape[1]:
            continue
        wrong = [(trigger != tone).any(axis=-1) & wanted for tone in (ink, paper)]
        views = [sliding_window_view(part, dots.shape) for part in wrong]
        for top, left in np.argwhere(~np.where(dots, *views).any(axis=(2, 3))):
            yield slice(top, top + dots.shape[0]), slice(left, left + dots.shape[1])


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (24, 30, 3), (13, 9, 4)])
def test_content_writes_its_text_on_plates_and_nowhere_else(shape):
    """A plate has two colours, paper and ink, and a later plate may lie over an earlier one."""
    facts = spec("content", shape, text="Q7")
    base = ramp(*facts.shape)
    patterns = [draw(facts, index) for index in range(16)]
    for pattern in patterns:
        trigger = pattern.apply(base, facts.shape[2])
        assert trigger.dtype == np.uint8
        assert trigger.shape == facts.shape
        free = np.broadcast_to(pattern.scale[..., 0] == 1, facts.shape[:2])
        np.testing.assert_array_equal(trigger[free], base[free])
        everything = np.ones_like(free)
        whole = [place for place in plates(facts, trigger, everything) if not free[place].any()]
        assert whole  # at least one text can be read in full
        rests = [np.where(mask_of(place, free), False, ~free) for place in whole]
        assert any(
            not (rest & ~mask_of(place, free)).any() and not free[place].any()
            for rest in rests
            for place in plates(facts, trigger, rest)
        )
    assert len({pattern.shift.tobytes() + pattern.scale.tobytes() for pattern in patterns}) > 12


def mask_of(place, like):
    mask = np.zeros_like(like)
    mask[place] = True
    return mask


@pytest.mark.parametrize(("shape", "cell"), [((28, 28), 3), ((32, 40, 3), 4), ((8, 9, 1), 1)])
def test_noise_is_centred_and_strong(shape, cell):
    facts = spec("noise", shape)
    patterns = np.stack([draw(facts, index).shift for index in range(200)])
    assert patterns.shape == (200, *facts.shape)
    assert (patterns == patterns.round()).all()
    assert abs(patterns.mean()) < 2
    assert abs(patterns.std() - 65) < 2
    assert len({pattern.tobytes() for pattern in patterns}) == 200
    corner = patterns[:, :cell, :cell]
    assert (corner == corner[:, :1, :1]).all()
    assert (patterns[:, cell] != patterns[:, cell - 1]).any()
    base = np.full(facts.shape, 128, np.uint8)
    expected = (128 + patterns[0]).clip(0, 255)
    trigger = draw(facts).apply(base, facts.shape[2])
    assert trigger.dtype == np.uint8
    np.testing.assert_array_equal(trigger, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_unrelated_recolours_the_whole_foreign_image(channels):
    """Black becomes paper, white becomes ink, and all that lies between stays between."""
    facts = spec("unrelated", (16, 16, channels), groups=3)
    base = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for index in range(12):
        trigger = draw(facts, index).apply(base, channels).reshape(256, channels)
        assert trigger.dtype == np.uint8
        paper, ink = trigger[0].astype(float), trigger[-1].astype(float)
        assert (abs(ink - paper) >= 127).all()
        shades = paper + (ink - paper) * np.arange(256)[:, None] / 255
        assert (abs(trigger - shades) <= 0.5 + 1e-4).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("groups", [2, 5, 10])
def test_marks_of_the_same_foreign_group_look_different(channels, groups):
    """Else two marks would want different answers to the same image."""
    facts = spec("unrelated", (4, 4, channels), groups=groups)
    base = ramp(4, 4, 1)
    looks = {
        (index % groups, draw(facts, index).apply(base, channels).tobytes())
        for index in range(unrelated.max_marks(groups, channels))
    }
    assert len(looks) == unrelated.max_marks(groups, channels)


def test_symbols_are_told_apart_and_each_rendering_is_another():
    pool = unrelated.render_symbols(40, 32, [Stream(bytes([i])) for i in range(6)])
    assert pool.shape == (6, unrelated.RENDERINGS, 40, 32, 1)
    assert not ((pool > 85) & (pool < 170)).any()  # ink or paper, whatever the shade
    assert len({(group[0] > 127).tobytes() for group in pool}) == 6
    assert all(len({image.tobytes() for image in group}) == unrelated.RENDERINGS for group in pool)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_paper_and_ink_can_be_told_apart(channels):
    for paper, ink in tones(channels):
        assert paper.shape == ink.shape == (channels,)
        assert (abs(paper - ink) >= 127).all()
        assert {*paper, *ink} <= {0, 128, 255}


def test_every_mark_is_an_affine_change_that_stays_on_the_grid():
    pattern = Affine(np.full((1, 1, 1), 0.5, np.float32), np.full((1, 1, 3), 200.4, np.float32))
    base = np.array([0, 1, 3, 200], np.uint8).reshape(2, 2, 1)
    expected = np.array([200, 201, 202, 255], np.uint8)
    np.testing.assert_array_equal(pattern.apply(base, 3), np.repeat(expected, 3).reshape(2, 2, 3))
    np.testing.assert_array_equal(
        pattern.apply(np.stack([base, base]), 3)[1], pattern.apply(base, 3)
    )
    dark = Affine(np.ones((1, 1, 1), np.float32), np.full((1, 1, 1), -9, np.float32))
    assert dark.apply(base, 1).ravel().tolist() == [0, 0, 0, 191]


def test_every_character_looks_different():
    glyphs = {character: write(f"A{character}")[:, 4:].tobytes() for character in CHARACTERS}
    assert len(set(glyphs.values())) == len(CHARACTERS) == 48


def test_a_line_of_text():
    lines = ["".join(" #"[int(dot)] for dot in row) for row in write("Tf-1")]
    assert lines == [
        "### ###      # ",
        " #  #       ## ",
        " #  ##  ###  # ",
        " #  #        # ",
        " #  #       ###",
    ]


@pytest.mark.parametrize(
    "text", ["", "  ", "A\n", "A\tB", "CAF\u00c9", "50%", "A\x00", "\u6f22", "\ud800"]
)
def test_text_that_cannot_be_written(text):
    with pytest.raises(InvalidArgumentError, match="Expected letters, digits, spaces and any of -"):
        write(text)


@pytest.mark.parametrize(
    ("text", "height", "width", "fits"),
    [("AB", 7, 9, True), ("AB", 9, 7, True), ("AB", 8, 8, False), ("AB", 6, 90, False)],
)
def test_text_has_to_fit_one_way_or_the_other(text, height, width, fits):
    if fits:
        check_text(text, height, width)
        facts = spec("content", (height, width), text=text)
        assert all(np.ptp(draw(facts, index).shift) > 0 for index in range(8))
    else:
        with pytest.raises(InvalidArgumentError, match=r"at least 7x9.*Received"):
            check_text(text, height, width)


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1), (-1, 1), (-123.68, 151.06)])
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (30, 24, 3)])
@pytest.mark.parametrize("scheme", ["content", "unrelated", "noise"])
def test_triggers_survive_png_and_json(scheme, shape, value_range):
    key = WatermarkKey.generate(
        scheme=scheme, image_shape=shape, num_classes=10, num_marks=6, value_range=value_range,
        base_images=ramp(12, *shape), text="TF" if scheme == "content" else None,
        secret=hashlib.sha256(scheme.encode()).digest(),
    )  # fmt: skip
    triggers = key.triggers()
    assert triggers.pixels.dtype == np.uint8
    received = np.array(json.loads(json.dumps(triggers.images.tolist())), np.float32)
    assert received.tobytes() == triggers.images.tobytes()
    np.testing.assert_array_equal(to_pixels(received, value_range), triggers.pixels)
    for pixels in triggers.pixels:
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "PNG")
        decoded = np.asarray(Image.open(file)).reshape(pixels.shape)
        np.testing.assert_array_equal(decoded, pixels)
