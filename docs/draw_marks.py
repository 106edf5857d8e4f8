"""Draws docs/marks.png: marks of each scheme on CIFAR-10.

python docs/draw_marks.py
"""

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import tfmark
from tfmark import datasets, pictures

SHOWN = 3  # marks of each scheme
TITLE = 28  # pixels above them, for the name of the scheme
APART = 24


def main():
    images = datasets.load("cifar10").x_train[:512]
    with tempfile.TemporaryDirectory() as folder:
        sheets = [
            drawn(scheme, images, number, Path(folder) / f"{scheme}.png")
            for number, scheme in enumerate(("noise", "content", "unrelated"))
        ]
    width = sum(sheet.width for sheet in sheets) + APART * (len(sheets) - 1)
    page = Image.new("RGB", (width, sheets[0].height), pictures.PAPER)
    left = 0
    for sheet in sheets:
        page.paste(sheet, (left, 0))
        left += sheet.width + APART
    page.save(Path(__file__).with_name("marks.png"))


def drawn(scheme, images, number, file):
    """The marks of one scheme below its name, and beside the first one the names of the rows."""
    key = tfmark.WatermarkKey.generate(
        scheme=scheme, image_shape=(32, 32, 3), num_classes=10, base_images=images,
        text="MINE" if scheme == "content" else None, secret=number.to_bytes(32, "big"),
    )  # fmt: skip
    pictures.draw_marks(key, file, SHOWN)
    marks = Image.open(file)
    margin = pictures.MARGIN if number else 0
    sheet = Image.new("RGB", (marks.width - margin, marks.height + TITLE), pictures.PAPER)
    sheet.paste(marks, (-margin, TITLE))
    place = (pictures.MARGIN - margin, 2)
    ImageDraw.Draw(sheet).text(place, scheme, pictures.INK, ImageFont.load_default(20))
    return sheet


if __name__ == "__main__":
    main()
