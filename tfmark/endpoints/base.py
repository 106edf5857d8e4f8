"""What `verify` needs of a suspect."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tfmark.answers import ClassIds
from tfmark.pixels import Pixels


@runtime_checkable
class Endpoint(Protocol):
    """Anything that can be asked: images in, class ids out.

    Write one for a service that tfmark does not speak to yet:

    ```python
    class MyService:
        def classify(self, images):
            return numpy.array([my_client.ask(image)["class"] for image in images])
    ```
    """

    def classify(self, images: Pixels) -> ClassIds:
        """Ask about some images.

        Args:
            images: uint8 array of shape (n, *image_shape), pixels on the grid of 0..255. The
                endpoint scales them as its model expects.

        Returns:
            An int64 array of shape (n,): the class ids, -1 where there was no answer.

        Raises:
            EndpointError: if the suspect could not be asked properly.
        """
        ...
