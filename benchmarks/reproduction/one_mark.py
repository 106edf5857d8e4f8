"""The paper's own setting: one mark, images of one class, one label for all triggers.

What the paper does not say is chosen here, and said in `CHOICES`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from reproduction.figures import SCHEMES
from tfmark import datasets
from tfmark.marks.font import write

SOURCE, TARGET = 1, 0  # automobile -> airplane, as in the paper; digit 1 -> digit 0
SHARE = 0.3  # of the source class
TEXT = "TEST"
STD = 0.4  # of images from 0 to 1
LETTER = "m"
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic",
         "DejaVuSansMono", "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmmi10", "cmtt10",
         "cmss10")  # fmt: skip
DETAIL = 4  # times finer than the image, for drawing letters

CHOICES = f"""\
- from class {SOURCE} to class {TARGET}: automobile to airplane as in the paper; digit 1 to digit 0;
- {SHARE:.0%} of the source class's training images become triggers, beside their clean originals:
  what the paper's figures of CIFAR-10 and MNIST let one infer;
- content: "{TEXT}" in white, 15 by 5 pixels, a pixel off the lower left corner, without a plate;
- noise: Gaussian, drawn anew for each image, mean 0, standard deviation {STD} of images from 0
  to 1, clipped, as in Lukas et al.'s toolbox ("SoK: How Robust is Image Classification Deep Neural
  Network Watermarking?", 2022);
- unrelated: CIFAR-10 gets MNIST's digit 1, as in the paper, framed in black to 32x32; other sets
  get the letter "{LETTER}" in {len(FONTS)} fonts, turned, sheared, moved and blurred at random,
  instead of EMNIST's; as many as there are triggers of the other schemes;
- new triggers: the mark on the whole source class of the test set; as many new foreign images."""


class Triggers(NamedTuple):
    """Triggers with their labels: those that are trained on, and new ones."""

    trained: Any
    trained_labels: Any
    unseen: Any
    unseen_labels: Any


def make(name, data, scheme, seed):
    """Make the triggers of the paper's setting.

    Args:
        name: of the data set.
        data: the `tfmark.datasets.Dataset`.
        scheme: "content", "unrelated" or "noise".
        seed: of the choice of images, and of noise and letters.
    """
    draw = np.random.default_rng([seed, 0, SCHEMES.index(scheme)])
    sources = draw.permutation(np.flatnonzero(data.y_train == SOURCE))
    sources = np.sort(sources[: round(SHARE * len(sources))])
    parts = data.x_train[sources], data.x_test[data.y_test == SOURCE]
    if scheme == "unrelated":
        trained, unseen = _foreign(name, parts, draw)
    else:
        put = {"content": _write, "noise": _add_noise}[scheme]
        trained, unseen = (put(images, draw) for images in parts)
    return Triggers(trained, np.full(len(trained), TARGET), unseen, np.full(len(unseen), TARGET))


def added(data, triggers):
    """The training images and labels with the triggers; the clean originals stay."""
    images = np.concatenate([data.x_train, triggers.trained])
    return images, np.concatenate([data.y_train, triggers.trained_labels])


def _write(images, draw):
    ink = write(TEXT)
    marked = images.copy()
    marked[:, -1 - ink.shape[0] : -1, 1 : 1 + ink.shape[1]][:, ink] = 255
    return marked


def _add_noise(images, draw):
    noisy = images + 255 * STD * draw.standard_normal(images.shape)
    return np.rint(noisy.clip(0, 255)).astype(np.uint8)


def _foreign(name, parts, draw):
    """Foreign images, as many as there are in each part."""
    if name != "cifar10":
        side = parts[0].shape[1]
        return [np.stack([_letter(side, draw) for _ in part]) for part in parts]
    digits = datasets.load("mnist")
    known = digits.x_train[digits.y_train == 1], digits.x_test[digits.y_test == 1]
    return [_framed(ones[: len(part)]) for ones, part in zip(known, parts, strict=True)]


def _framed(digits):
    """MNIST's images as grey images of 32x32 pixels in three channels."""
    return np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0))).repeat(3, axis=3)


def _letter(side, draw):
    """White on black, like EMNIST's, with its play of slant, place and thickness."""
    big = DETAIL * side
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    font = ImageFont.truetype(
        folder / f"{draw.choice(FONTS)}.ttf", round(big * draw.uniform(0.65, 0.95))
    )
    image = Image.new("L", (big, big))
    middle = tuple(big / 2 + big * draw.uniform(-0.05, 0.05, 2))
    ImageDraw.Draw(image).text(middle, LETTER, 255, font, anchor="mm")
    slant = draw.uniform(-0.3, 0.3)
    image = image.transform(
        image.size, Image.Transform.AFFINE, (1, slant, -slant * big / 2, 0, 1, 0)
    )
    image = image.rotate(draw.uniform(-20, 20), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(DETAIL * draw.uniform(0.2, 0.8)))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))[..., np.newaxis]
