"""The outcome of reading the mark in the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tfmark.verdict import OWNED


@dataclass(frozen=True)
class WeightVerdict:
    """What `tfmark.verify_weights` found. `str(verdict)` says it in plain words.

    Example:
    ```python
    >>> verdict = tfmark.verify_weights(innocent, key)
    >>> verdict.status, verdict.bits
    ('not shown', 256)
    >>> 80 < verdict.bit_errors < 176  # about half of them, as coins fall
    True
    ```

    Attributes:
        status: "owned" or "not shown".
        p_value: exact binomial tail of the right bits times `layers`, at most 1. The probability
            that weights made without the key give such a value is no larger.
        layer: name of the layer with the fewest wrong bits.
        bit_errors: number of wrong bits there.
        bits: number of bits that were read.
        layers: number of kernels that were looked at.
        alpha: error rate that was asked for.
    """

    status: str
    p_value: float
    layer: str
    bit_errors: int
    bits: int
    layers: int
    alpha: float

    @property
    def owned(self) -> bool:
        """Whether the weights were shown to carry the mark."""
        return self.status == OWNED

    @property
    def sentence(self) -> str:
        """What was shown, under which assumption, at which error rate."""
        right = f"{self.bits - self.bit_errors} of {self.bits} secret bits"
        looked = "the one kernel" if self.layers == 1 else f"the best of {self.layers} kernels"
        assumption = (
            "The only assumption is that the bits are secret and random and were committed to "
            "before the model was made: then each comes out right with probability 1/2, whatever "
            "the weights are."
        )
        if self.status == OWNED:
            return (
                f"The weights carry the mark: {right} stand in layer {self.layer!r}, {looked} "
                f"looked at. Weights made without this key come to that with a probability of at "
                f"most {self.p_value:.2g}; the error rate asked for was {self.alpha:g}. "
                f"{assumption}"
            )
        return (
            f"The mark was not shown: {right} stand in layer {self.layer!r}, {looked} looked at, "
            f"which is no proof at an error rate of {self.alpha:g} (p-value {self.p_value:.2g}). "
            f"This does not show that the model is innocent. {assumption}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All facts, for JSON.

        Returns:
            A dict of the attributes, `owned` and `sentence`.
        """
        return asdict(self) | {"owned": self.owned, "sentence": self.sentence}

    def __str__(self) -> str:
        return self.sentence
