"""What all formats of models have in common once they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from tfmark.endpoints.signature import Signature


class Runner(Protocol):
    """A loaded model."""

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """Ways to ask it."""
        ...

    def run(self, signature: Signature, array: npt.NDArray[Any]) -> Mapping[str, Any]:
        """Ask about images.

        Args:
            signature: one of `signatures`, with one input.
            array: what to pass to it: numbers, or an array of bytes objects.

        Returns:
            The outputs by name.
        """
        ...


def sides(shape: Any) -> tuple[int, ...]:
    """A shape in which a side of any size may be `None`, a name, or negative."""
    return tuple(side if isinstance(side, int) and side >= 0 else -1 for side in shape)
