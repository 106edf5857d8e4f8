"""Draws docs/marks.png: marks of each scheme on CIFAR-10.

python docs/draw_marks.py
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import tfmark
from tfmark import datasets, pictures

SHOWN = 8


def main():
    data = datasets.load("cifar10")
    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        for number, scheme in enumerate(("noise", "content", "unrelated")):
            key = tfmark.WatermarkKey.generate(
                scheme=scheme,
                image_shape=(32, 32, 3),
                num_classes=10,
                base_images=data.x_train[:512],
                text="MINE" if scheme == "content" else None,
                secret=number.to_bytes(32, "big"),
            )
            file = Path(folder) / f"{scheme}.png"
            pictures.draw_marks(key, file, SHOWN)
            sheets.append(np.asarray(Image.open(file)))
    Image.fromarray(np.concatenate(sheets)).save(Path(__file__).with_name("marks.png"))


if __name__ == "__main__":
    main()
