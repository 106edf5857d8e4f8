"""Base images: what comes in is checked, brought to one form, and bound by one hash."""

import hashlib

import numpy as np
import pytest

from tfmark import base_images as bases
from tfmark.derivation import Stream
from tfmark.errors import InvalidArgumentError

UNIT = (0.0, 1.0)


def ramp(count, *shape):
    """Images that all differ, from arithmetic alone."""
    return (np.arange(count * np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(count, *shape)


def stream():
    return Stream(bytes(32), b"order")


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_ordinary_images_are_all_kept_and_shuffled(shape):
    images = ramp(20, *shape)
    pool = bases.ordinary(images / 255, shape, 10, UNIT, stream())
    assert pool.shape == (1, 20, 6, 5, shape[2] if len(shape) == 3 else 1)
    assert pool.dtype == np.uint8
    kept = pool.reshape(images.shape)
    np.testing.assert_array_equal(kept, images[stream().shuffled(20)])
    assert (kept != images).any()


def test_a_key_keeps_a_copy_of_its_base_images():
    images = ramp(20, 6, 5, 1)
    pool = bases.ordinary(images, (6, 5, 1), 10, UNIT, stream())
    before = pool.copy()
    images[...] = 0
    np.testing.assert_array_equal(pool, before)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (ramp(19, 6, 5, 1), "at least 20.*Received: 19"),
        (ramp(20, 6, 5), r"shape \(n, 6, 5, 1\).*Received: shape \(20, 6, 5\)"),
        (ramp(20, 5, 6, 1), r"shape \(n, 6, 5, 1\)"),
        (ramp(20, 6, 5, 3), r"shape \(n, 6, 5, 1\)"),
        (ramp(20, 6, 5, 1)[:0], "array of finite numbers"),
        (np.ones((20, 6, 5, 1), np.uint8), "different base images.*20 equal"),
        (ramp(20, 6, 5, 1) / 100, "values from 0 to 1"),
        (ramp(20, 6, 5, 1).astype(int) - 1, "values from 0 to 255.*Received: values from -1"),
        (ramp(20, 6, 5, 1).astype(int) + 9, "values from 0 to 255"),
        (ramp(20, 6, 5, 1) > 100, "array of finite numbers.*dtype bool"),
        (ramp(20, 6, 5, 1).astype(str), "array of finite numbers"),
        (ramp(20, 6, 5, 1) + 1j, "array of finite numbers.*dtype complex"),
        (np.where(ramp(20, 6, 5, 1) == 0, np.nan, 0.5), "array of finite numbers"),
        (None, "array of finite numbers"),
        (5, "array of finite numbers"),
        ([ramp(1, 6, 5, 1)[0], ramp(1, 6, 4, 1)[0]], "array of finite numbers"),
    ],
)
def test_ordinary_images_that_do_not_fit(images, expected):
    with pytest.raises(InvalidArgumentError, match=expected):
        bases.ordinary(images, (6, 5, 1), 10, UNIT, stream())


@pytest.mark.parametrize(
    ("shape", "model", "channels"),
    [
        ((28, 28), (32, 32, 3), 1),
        ((28, 28, 1), (32, 32, 3), 1),
        ((28, 28, 3), (32, 20, 3), 3),
        ((28, 28, 3), (28, 28, 1), 1),
        ((7, 9), (7, 9, 1), 1),
    ],
)
def test_foreign_images_get_the_size_of_the_models_images(shape, model, channels):
    class_ids = np.arange(24) % 2
    pool = bases.foreign((ramp(24, *shape), class_ids), model)
    assert pool.shape == (2, 12, *model[:2], channels)
    assert pool.dtype == np.uint8
    assert pool.std() > 10  # not washed out


def test_foreign_images_are_grouped_by_class_id():
    """Groups come in the order of the class ids, each cut to the size of the smallest."""
    class_ids = np.array([7, -2] * 8 + [40] * 12 + [7])
    levels = np.arange(len(class_ids), dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(levels), 4, 4))
    pool = bases.foreign((images, class_ids), (4, 4, 1))
    expected = [levels[class_ids == class_id][:8] for class_id in (-2, 7, 40)]
    np.testing.assert_array_equal(pool[..., 0, 0, 0], expected)


def test_no_more_foreign_images_are_kept_than_a_key_needs():
    class_ids = np.repeat([0, 1], bases.MAX_FOREIGN + 1)
    assert bases.foreign((ramp(len(class_ids), 2, 2), class_ids), (2, 2, 1)).shape[1] == 1024


@pytest.mark.parametrize(
    ("images", "class_ids", "model", "expected"),
    [
        (ramp(20, 8, 8), np.zeros(20, int), (8, 8, 1), "two class ids.*Received: 1 class ids"),
        (ramp(20, 8, 8), np.arange(20) // 13, (8, 8, 1), "at least 8.*7 images of the rarest"),
        (ramp(20, 8, 8), np.arange(19) % 2, (8, 8, 1), r"class ids of shape \(n,\)"),
        (ramp(20, 8, 8), np.arange(20) % 2 / 1, (8, 8, 1), "integer class ids.*dtype float64"),
        (ramp(20, 8, 8), np.eye(20, dtype=int), (8, 8, 1), r"class ids of shape \(n,\)"),
        (ramp(20, 8, 8), None, (8, 8, 1), r"class ids of shape \(n,\)"),
        (ramp(20, 8, 8, 1, 1), np.arange(20) % 2, (8, 8, 1), r"shape \(n, height, width"),
        (ramp(20, 8, 8, 4), np.arange(20) % 2, (8, 8, 3), "1 or 3 channels. Received: 4"),
        (ramp(20, 8, 8) / 50, np.arange(20) % 2, (8, 8, 1), "pixels that fill"),
    ],
)
def test_foreign_images_that_do_not_fit(images, class_ids, model, expected):
    with pytest.raises(InvalidArgumentError, match=f"Expected.*{expected}"):
        bases.foreign((images, class_ids), model)


def test_resizing_keeps_channels_apart_and_places_in_place():
    image = np.zeros((8, 8, 2), np.uint8)
    image[:4, :, 0], image[:, 4:, 1] = 200, 90
    resized = bases.resize(image, 16, 24)
    assert resized.shape == (16, 24, 2)
    assert (resized[:6, :, 0] == 200).all()
    assert (resized[10:, :, 0] == 0).all()
    assert (resized[:, 15:, 1] == 90).all()
    assert (resized[:, :9, 1] == 0).all()


def test_an_image_of_the_right_size_is_not_touched():
    np.testing.assert_array_equal(bases.resize(ramp(1, 8, 9, 3)[0], 8, 9), ramp(1, 8, 9, 3)[0])


def test_the_root_binds_every_pixel_and_every_place():
    pool = ramp(4, 3, 3, 1).reshape(2, 2, 3, 3, 1)
    changed = pool.copy()
    changed[1, 1, 2, 2, 0] ^= 1
    roots = {bases.root(p) for p in (pool, changed, pool[::-1], pool[:, ::-1], pool[:, :1])}
    assert len(roots) == 5

    def sha(*parts):
        return hashlib.sha256(b"".join(parts)).digest()

    images = [image.tobytes() for image in pool.reshape(4, 9)]
    leaves = [sha(b"tfmark/v1/base", bytes([0, 0, 0, i]), images[i]) for i in range(4)]
    halves = [sha(b"tfmark/v1/node", *leaves[i : i + 2]) for i in (0, 2)]
    assert bases.root(pool) == sha(b"tfmark/v1/node", *halves)
