"""Images as PNG or JPEG files, for models that decode them themselves."""

from __future__ import annotations

import io

from tfmark.errors import InvalidArgumentError
from tfmark.pixels import Pixels

FORMATS = ("png", "jpeg")


def compress(image: Pixels, kind: str) -> bytes:
    """Write one image of shape (h, w), (h, w, 1) or (h, w, 3) as a file.

    PNG keeps triggers exactly. JPEG does not: it is written at the highest quality that is of use,
    without colour subsampling, for services that take nothing else.

    Raises:
        InvalidArgumentError: if there is no such picture.
    """
    from PIL import Image  # takes a while, and most suspects take numbers

    plane = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if plane.ndim not in (2, 3) or (plane.ndim == 3 and plane.shape[-1] != 3):
        raise InvalidArgumentError(
            f"Only grey and RGB images can be sent as {kind}. Received: shape {image.shape}"
        )
    file = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(plane).save(file, kind, **options)
    return file.getvalue()
