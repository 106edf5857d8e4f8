"""What a server or a file says about a model, in one form for all protocols."""

from __future__ import annotations

from dataclasses import dataclass

from tfmark.errors import AnswerError

DEFAULT = "serving_default"
MAX_RANK = 8  # of tensors that a server tells of


@dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: its name.
        dtype: NumPy's name of its dtype; "string" for text and bytes.
        shape: its shape with the batch axis, -1 where any size will do; `None` if nothing is known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        sides = "?" if self.shape is None else ", ".join(map(str, self.shape))
        return f"{self.name!r} {self.dtype} ({sides})"


@dataclass(frozen=True)
class Signature:
    """One way to ask a model."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def image(self, name: str | None) -> TensorInfo:
        """The input for images.

        Raises:
            AnswerError: if there is not one that could be it.
        """
        names = [tensor.name for tensor in self.inputs]
        if len(names) != 1:
            raise AnswerError(f"The model expects several inputs {names}, not one image.")
        if name not in (None, names[0]):
            raise AnswerError(f"The model has no input {name!r}. Expected {names[0]!r}.")
        return self.inputs[0]


def choose_signature(signatures: tuple[Signature, ...], name: str | None) -> Signature:
    """The signature `name`, or the default one.

    Raises:
        AnswerError: if there is no such signature.
    """
    found = {signature.name: signature for signature in signatures}
    if (name or DEFAULT) not in found:
        raise AnswerError(f"The model has no signature {name or DEFAULT!r}, only {sorted(found)}.")
    return found[name or DEFAULT]
