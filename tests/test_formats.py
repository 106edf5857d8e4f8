"""What docs/reference says of the formats: code written from its words, compared with tfmark."""

import hmac
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tfmark import WatermarkKey
from tfmark.marks.font import write

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
SECRET = bytes(range(32))


def page(name):
    """The names that the Python blocks of a page define, run from its first to its last."""
    names = {}
    text = (REFERENCE / name).read_text("utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    return names


@pytest.fixture(scope="module")
def derivation():
    return page("derivation.md")


def tones(channels):
    if channels == 1:
        grey = ((0, 255), (255, 0), (0, 128), (255, 128), (128, 255), (128, 0))
        return [((paper,), (ink,)) for paper, ink in grey]
    pairs = []
    for n in range(2 ** min(channels, 3)):
        paper = tuple(255 * (n >> c % 3 & 1) for c in range(channels))
        pairs.append((paper, tuple(255 - level for level in paper)))
    return pairs


def plate(text, height, width, channels, stream):
    ink = np.pad(write(text), 1)
    choices = []
    for turn in range(4):
        rows, columns = np.rot90(ink, turn).shape
        largest = min(height // rows, width // columns)
        choices += [(turn, size) for size in range(max(1, (largest + 1) // 2), largest + 1)]
    turn, size = choices[stream.below(len(choices))]
    ink = np.rot90(ink, turn).repeat(size, 0).repeat(size, 1)
    paper, colour = tones(channels)[stream.below(len(tones(channels)))]
    return np.where(ink[..., None], colour, paper)


def content_trigger(stream, image, text):
    height, width, channels = image.shape
    for _ in range(64):
        plates = [plate(text, height, width, channels, stream) for _ in range(2)]
        covered, places = np.zeros((height, width)), []
        for rows, columns, _ in (drawn.shape for drawn in plates):
            top, left = stream.below(height - rows + 1), stream.below(width - columns + 1)
            places.append((slice(top, top + rows), slice(left, left + columns)))
            covered[places[-1]] += 1
        if covered.max() < 2:
            break
    marked = image.copy()
    for drawn, place in zip(plates, places, strict=True):
        marked[place] = drawn
    return marked


def unrelated_trigger(i, image, groups, channels):
    looks = tones(channels)
    pair = looks[(i // groups + i % groups) % len(looks)]
    paper, ink = (np.array(tone, np.float32) for tone in pair)
    scaled = np.float32((ink - paper) / 255) * image + paper
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "text"), [((28, 28, 1), "MINE"), ((32, 32, 3), "AB"), ((12, 12, 1), "A")]
)
def test_content(derivation, rng, shape, text):
    pool = rng.integers(0, 256, (64, *shape), np.uint8)
    key = WatermarkKey.generate(
        scheme="content", text=text, image_shape=shape, num_classes=10, num_marks=24,
        base_images=pool, secret=SECRET,
    )  # fmt: skip
    root = bytes.fromhex(key.commitment)
    assert derivation["commitment"](SECRET, asdict(key.spec)) == root
    for i, pixels in enumerate(key.triggers().pixels):
        stream = derivation["Stream"](derivation["subkey"](SECRET, i), root, b"pattern")
        assert (content_trigger(stream, key.base_images[0, i], text) == pixels).all()


@pytest.mark.parametrize(("channels", "count"), [(3, 30), (1, 20)])
def test_unrelated(rng, channels, count):
    foreign = rng.integers(0, 256, (40, 12, 12, 1), np.uint8), np.arange(40) % 4
    key = WatermarkKey.generate(
        scheme="unrelated", unrelated_images=foreign, image_shape=(12, 12, channels),
        num_classes=10, num_marks=count, value_range=(0, 1), secret=SECRET,
    )  # fmt: skip
    groups, kept = key.spec.base_groups, key.spec.num_verification
    for i, pixels in enumerate(key.triggers().pixels):
        base = key.base_images[i % groups, i // groups % kept]
        assert (unrelated_trigger(i, base, groups, channels) == pixels).all()


@pytest.fixture(scope="module")
def key():
    images = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 1), np.uint8)
    return WatermarkKey.generate(
        scheme="noise", image_shape=(12, 12, 1), num_classes=10, num_marks=24,
        base_images=images, secret=SECRET,
    )  # fmt: skip


def test_weights(derivation, key, rng):
    secret = hmac.digest(SECRET, b"tfmark/v1/weights", "sha256")
    root = bytes.fromhex(key.commitment)
    mean, n = rng.normal(size=(3, 3, 8, 5)).mean(axis=-1).ravel(), 64

    def read(purpose, count):
        data = derivation["Stream"](secret, root, purpose).read(count // 8)
        return np.unpackbits(np.frombuffer(data, np.uint8))

    bits = read(b"weights/bits", n)
    signs = 2.0 * read(b"weights/signs", n * len(mean)) - 1
    says = np.array([signs[i::n] @ mean > 0 for i in range(n)])
    assert key.weight_secret.errors(n, mean) == (says != bits).sum() > 0


def test_digests(derivation, key):
    sha256 = derivation["sha256"]
    seed = hmac.digest(SECRET, b"tfmark/v1/signing", "sha256")
    signer = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    weights = sha256(b"tfmark/v1/weights-leaf", hmac.digest(SECRET, b"tfmark/v1/weights", "sha256"))
    assert (signer.hex(), weights.hex()) == (key.public.signer, key.public.weights)
    assert sha256(b"tfmark/v2/bound", signer, weights).hex() == key.spec.bound
