"""From a pipeline's scale to the grid of 0..255 and back, without losing a level."""

import numpy as np
import pytest

from tfmark.errors import InvalidArgumentError
from tfmark.pixels import check_value_range, from_pixels, infer_value_range, to_pixels

LEVELS = np.arange(256, dtype=np.uint8)
RANGES = [(0, 255), (0, 1), (-1, 1), (-0.5, 0.5), (-123.68, 151.06), (-2.1179, 2.64), (0, 1023)]


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_level_survives_the_scale_of_the_pipeline(value_range, dtype):
    images = from_pixels(LEVELS, value_range)
    assert images.dtype == np.float32
    assert images[0] == np.float32(value_range[0])
    assert images[-1] == np.float32(value_range[1])
    assert (np.diff(images) > 0).all()
    np.testing.assert_array_equal(to_pixels(images.astype(dtype), value_range), LEVELS)


def test_pixels_are_what_a_pipeline_makes_of_them():
    np.testing.assert_allclose(from_pixels(LEVELS, (0, 1)), LEVELS / 255, rtol=1e-7)
    np.testing.assert_allclose(from_pixels(LEVELS, (-1, 1)), LEVELS / 127.5 - 1, atol=1e-7)
    np.testing.assert_array_equal(from_pixels(LEVELS, (0, 255)), LEVELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_integers_are_on_the_grid_already(dtype):
    np.testing.assert_array_equal(to_pixels(LEVELS.astype(dtype), (0.0, 1.0)), LEVELS)


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        ([0, 1.1], (0, 1)),
        ([-0.1, 1], (0, 1)),
        ([-1.01, 0], (-1, 1)),
        ([0, 256.0], (0, 255)),
        ([0, np.nan], (0, 1)),
        ([0, np.inf], (0, 1)),
    ],
)
def test_values_outside_the_range_are_refused(images, value_range):
    with pytest.raises(InvalidArgumentError, match=rf"values from {value_range[0]} to"):
        to_pixels(np.array(images), value_range)


def test_rounding_errors_at_the_ends_are_forgiven():
    np.testing.assert_array_equal(to_pixels(np.array([-1e-6, 1.0000002]), (0, 1)), [0, 255])


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (np.array([0, 1], np.uint8), (0, 255)),
        (np.array([0, 255], np.int64), (0, 255)),
        (np.array([0, 0.4, 1]), (0, 1)),
        (np.array([0.1, 0.9], np.float32), (0, 1)),
        (np.array([-1, 1.0]), (-1, 1)),
        (np.array([-0.4, 0.9]), (-1, 1)),
        (np.array([0, 254.0]), (0, 255)),
        (np.array([3.0, 40.0]), (0, 255)),
    ],
)
def test_a_clear_value_range_is_inferred(images, value_range):
    assert infer_value_range(images) == value_range


@pytest.mark.parametrize(
    "images",
    [
        [0, 2.0],  # standardised? dark?
        [-2.1, 2.6],  # standardised
        [0, 0.01],  # hardly any contrast
        [0, 0.0],
        [-0.05, 1],  # a rounding error, or centred?
        [-1, 0.0],
        [-128, 127.0],
        [0, 256.0],
        [0, 65535.0],
    ],
)
def test_an_unclear_value_range_has_to_be_given(images):
    with pytest.raises(InvalidArgumentError, match=r"Expected pixels.*pass `value_range`"):
        infer_value_range(np.array(images))


@pytest.mark.parametrize("value_range", [(0, 255), [0, 1], np.array([-1, 1]), (-0.5, 0.5)])
def test_good_value_ranges(value_range):
    checked = check_value_range(value_range)
    assert checked == tuple(value_range)
    assert [type(bound) for bound in checked] == [float, float]


@pytest.mark.parametrize(
    "value_range",
    [
        None, 255, (0,), (0, 1, 2), (1, 0), (1, 1), (0, np.inf), (-np.inf, 0), (np.nan, 1),
        ("low", "high"), ("0", "1"), "01", (False, True), (0, None), (0, 10**400), (0, 1j),
        (-1.7e308, 1.7e308),
    ],
    ids=lambda value_range: str(value_range)[:24],
)  # fmt: skip
def test_bad_value_ranges(value_range):
    with pytest.raises(InvalidArgumentError, match="Expected two finite numbers"):
        check_value_range(value_range)
