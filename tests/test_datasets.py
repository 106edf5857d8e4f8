import socket

import numpy as np
import pytest

from tfmark import TfmarkError, datasets


def test_digits_are_real_images_on_the_grid(digits):
    assert digits.x_train.shape == (1437, 24, 24, 1)
    assert digits.x_test.shape == (360, 24, 24, 1)
    assert digits.x_train.dtype == np.uint8
    assert digits.x_train.max() == 255
    assert set(digits.y_train) == set(digits.y_test) == set(range(10))


def test_a_host_that_cannot_be_reached_is_said_at_once(monkeypatch):
    """TFDS would try for minutes."""
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        datasets._check_reachable("set", [f"http://127.0.0.1:{port}/images.gz"])
    with pytest.raises(TfmarkError, match=r"'set' is not on this machine, and 127.0.0.1"):
        datasets._check_reachable("set", [f"http://127.0.0.1:{port}/images.gz"])
