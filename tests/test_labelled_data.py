"""Labelled images from files, folders and arrays."""

import numpy as np
import pytest
from PIL import Image

from tests.small_models import small_digits, small_key
from tfmark import TfmarkError, WatermarkKey
from tfmark.datasets import Dataset
from tfmark.labelled_data import as_dataset, load_labelled


@pytest.fixture(scope="module")
def key():
    return small_key()


def expect_digits(data, count=1400):
    x_train, y_train, x_test, y_test = small_digits()
    assert isinstance(data, Dataset)
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    np.testing.assert_array_equal(data.x_train, x_train[:count])
    np.testing.assert_array_equal(data.y_train, y_train[:count])
    np.testing.assert_array_equal(data.x_test, x_test)
    np.testing.assert_array_equal(data.y_test, y_test)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x, y),
        lambda x, y: (x / np.float32(255), y[:, np.newaxis]),
        lambda x, y: (x / 127.5 - 1, np.eye(10)[y]),
        lambda x, y: (x.astype(np.float32)[..., 0], y.astype(np.float64)),
    ],
)
def test_a_file_of_arrays_in_any_scale(key, tmp_path, change):
    x_train, y_train, x_test, y_test = small_digits()
    (x_train, y_train), (x_test, y_test) = change(x_train, y_train), change(x_test, y_test)
    np.savez(tmp_path / "d.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    expect_digits(load_labelled(str(tmp_path / "d.npz"), key))
    expect_digits(as_dataset(((x_train, y_train), (x_test, y_test)), key))


def test_the_scale_of_the_key_is_known(rng):
    """Dark images in (-1, 1) are dark, and not those of another scale."""
    images = rng.integers(0, 256, (100, 8, 8, 1), np.uint8)
    key = WatermarkKey.generate(
        scheme="noise", image_shape=(8, 8, 1), num_classes=10, num_marks=24, base_images=images,
        value_range=(-1, 1),
    )  # fmt: skip
    labels = np.arange(100) % 10
    scaled = images / 127.5 - 1
    data = as_dataset((scaled, labels, scaled[:50], labels[:50]), key)
    np.testing.assert_array_equal(data.x_train, images)
    data = as_dataset((images, labels, images[:50], labels[:50]), key)
    np.testing.assert_array_equal(data.x_test, images[:50])


def folder_of(root, images, labels):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{i:05}.png")


def test_a_folder_with_a_subfolder_for_each_class(key, tmp_path):
    x_train, y_train, x_test, y_test = small_digits()
    folder_of(tmp_path, x_train[:300], y_train[:300])
    (tmp_path / ".cache").mkdir()
    data = load_labelled(str(tmp_path), key)
    assert (len(data.x_train), len(data.x_test)) == (240, 60)
    known = {image.tobytes(): label for image, label in zip(x_train, y_train, strict=True)}
    for images, labels in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert [known[image.tobytes()] for image in images] == labels.tolist()
    assert not {i.tobytes() for i in data.x_train} & {i.tobytes() for i in data.x_test}

    folder_of(tmp_path / "split" / "train", x_train[:100], y_train[:100])
    folder_of(tmp_path / "split" / "test", x_test[:60], y_test[:60])
    split = load_labelled(str(tmp_path / "split"), key)
    assert (len(split.x_train), len(split.x_test)) == (100, 60)
    assert {i.tobytes() for i in split.x_test} == {i.tobytes() for i in x_test[:60]}


def test_a_named_set_is_brought_to_the_shape_of_the_key(key):
    data = load_labelled("digits", key)
    assert data.x_train.shape == (1437, 8, 8, 1)
    assert len(data.x_test) == len(data.y_test) == 360


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"y_test": None}, "y_test is missing"),
        ({"x_train": np.zeros((5, 9, 8, 1), np.uint8)}, r"`x_train` of shape \(n, 8, 8, 1\)"),
        ({"y_train": np.arange(5)}, "`y_train` does not fit. Expected 1400 labels"),
        ({"y_test": np.full(397, 10)}, "`y_test` does not fit. Expected labels from 0 to 9"),
        ({"x_test": np.full((397, 8, 8, 1), 300.0)}, "values from"),
        ({"x_test": np.full((397, 8, 8, 1), np.nan)}, "finite"),
        ({"y_train": np.array([["a"]] * 1400)}, "y_train"),
    ],
)
def test_a_file_that_does_not_fit(key, tmp_path, change, problem):
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = dict(zip(names, small_digits(), strict=True)) | change
    np.savez(tmp_path / "d.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(TfmarkError, match=problem):
        load_labelled(str(tmp_path / "d.npz"), key)


def test_sources_that_are_none(key, tmp_path):
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 not a file")
    for source in ("damaged.npz", "missing.npz"):
        with pytest.raises(TfmarkError, match=source):
            load_labelled(str(tmp_path / source), key)
    (tmp_path / "folder" / "one").mkdir(parents=True)
    with pytest.raises(TfmarkError, match="10 subfolders"):
        load_labelled(str(tmp_path / "folder"), key)
    for number in range(9):
        (tmp_path / "folder" / str(number)).mkdir()
    with pytest.raises(TfmarkError, match="no image files"):
        load_labelled(str(tmp_path / "folder"), key)
    (tmp_path / "folder" / "0" / "broken.png").write_bytes(b"no image")
    with pytest.raises(TfmarkError, match=r"broken\.png"):
        load_labelled(str(tmp_path / "folder"), key)
    other = WatermarkKey.generate(
        scheme="unrelated", image_shape=(8, 8, 1), num_classes=7, value_range=(0, 255)
    )
    with pytest.raises(TfmarkError, match="digits, of 10"):
        load_labelled("digits", other)
    with pytest.raises(TfmarkError, match="Nor is there a file or folder"):
        load_labelled("no_such_set_anywhere", key)
