"""Overwriting: the thief embeds a watermark of their own on top."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import as_attack_data
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.second_keys import SCHEMES, second_key
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_share
from tfmark.injection import inject
from tfmark.key import WatermarkKey


@dataclass(frozen=True)
class Overwrite:
    """Fine-tune with the triggers of a fresh key mixed in.

    Example:
    ```python
    attack = tfmark.attacks.Overwrite("noise")
    attacked = attack(model, (x_train, y_train))
    theirs = tfmark.verify(attacked, attack.key((x_train, y_train)))
    ```

    Args:
        scheme: the second key's, "content", "unrelated" or "noise". Defaults to "noise".
        ratio: triggers for each clean image, see `tfmark.inject`. Defaults to 0.15.
        tuning: the fine-tuning. Defaults to `FineTune()`.

    Reference:
        Adi et al., USENIX Security 2018, who call it ownership piracy.
    """

    scheme: str = "noise"
    ratio: float = 0.15
    tuning: FineTune = field(default_factory=FineTune)

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, *SCHEMES)
        check_share("ratio", self.ratio)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        second = inject(self.key(data, seed), self.ratio, seed)
        self.tuning.train(copy, model, data, seed, transform=second)
        return copy

    def key(self, data: Any, seed: int = 0) -> WatermarkKey:
        """The thief's key: the same data and seed give the same one.

        Args:
            data: what the attacker has: `(images, labels)`, or an `AttackData`.
            seed: that of the attack. Defaults to 0.

        Returns:
            A `WatermarkKey`.

        Raises:
            AttackError: if there are too few images, or of a shape that takes no such marks.
        """
        return second_key(self.scheme, as_attack_data(data), seed)

    def __str__(self) -> str:
        return f"a second key ({self.scheme}), ratio {self.ratio:g}; {self.tuning}"
