"""The attacks by name, at two strengths; docs/robustness.md says where their settings come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from tfmark.attacks.averaging import Average
from tfmark.attacks.extraction import Extract
from tfmark.attacks.fine_pruning import FinePrune
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.inputs import BitDepth, Blur, Flip, InputNoise, Jpeg, Resize, Shift
from tfmark.attacks.overwriting import Overwrite
from tfmark.attacks.pruning import Prune
from tfmark.attacks.quantization import QuantizeKeras, QuantizeLiteRT
from tfmark.attacks.second_keys import SCHEMES
from tfmark.attacks.unlearning import Unlearn
from tfmark.attacks.weight_noise import WeightNoise
from tfmark.errors import InvalidArgumentError


class Attack(Protocol):
    """What an attack is: a function from a model, data and a seed to a model or an endpoint.

    Example:
    ```python
    def negative_dense_layers(model, data, seed):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        copy.layers[-1].kernel.assign(-copy.layers[-1].kernel)
        return copy

    report = tfmark.robustness(
        model, key, (x_train, y_train, x_test, y_test), attacks=negative_dense_layers
    )
    ```
    """

    def __call__(self, model: Any, data: Any, seed: int, /) -> Any:
        """Attack a model.

        Args:
            model: the stolen `keras.Model`; it must not be changed.
            data: what the attacker has, an `AttackData`.
            seed: makes it reproducible.

        Returns:
            A `keras.Model`, or an `Endpoint`.

        Raises:
            AttackError: if this cannot be done to such a model.
        """
        ...


Named = tuple[str, Attack]

STRENGTHS = ("mild", "strong")
FAMILIES = {
    "fine-tuning": (
        "fine-tune-last", "fine-tune-all", "fine-tune-predicted", "retrain-last", "retrain-all",
    ),
    "pruning": ("prune-global", "prune-layer", "prune-retrain", "fine-prune"),
    "quantization": ("litert-float16", "litert-int8", "keras-int8"),
    "weights": ("weight-noise", "average-checkpoints", "average-copy"),
    "overwriting": ("overwrite",),
    "unlearning": ("unlearn",),
    "extraction": (
        "distill", "extract-hard", "extract-other", "extract-disjoint", "extract-out-of-domain",
    ),
    "inputs": ("jpeg", "blur", "input-noise", "bit-depth", "resize", "flip", "shift"),
}  # fmt: skip
"""The names of attacks, by family."""
NAMES = tuple(name for names in FAMILIES.values() for name in names)
"""The names of all attacks, in the order in which `tfmark.robustness` makes them."""

_MILD = FineTune(learning_rate=0.01, epochs=5, share=0.2)
_STRONG = FineTune(learning_rate=0.05, halve_every=5, epochs=30, share=0.2)


def catalogue(strength: str) -> dict[str, tuple[Attack, ...]]:
    """All attacks by name, each with one setting or more.

    Example:
    ```python
    >>> print(*tfmark.attacks.catalogue("strong")["weight-noise"], sep=" | ")
    Gaussian, 20% of each layer's size | Gaussian, 40% of each layer's size
    ```

    Args:
        strength: "mild", what a thief does without much thought, or "strong", what is known to
            remove such marks.

    Returns:
        A dict from each of `NAMES` to a tuple of attacks.

    Raises:
        InvalidArgumentError: if there is no such strength.
    """
    if strength not in STRENGTHS:
        raise InvalidArgumentError(
            "Invalid value for argument `strength`. Expected 'mild' or 'strong'. "
            f"Received: strength={strength!r}"
        )
    return _mild() if strength == "mild" else _strong()


def chosen(attacks: Any, strength: str) -> list[Named]:
    """The attacks that a caller asks for, each with a name.

    Args:
        attacks: `None` for all; names of attacks or families, attacks, or both; or attacks by name.
        strength: "mild" or "strong".

    Raises:
        InvalidArgumentError: if there is no attack of a name, or something is none.
    """
    known = catalogue(strength)
    if attacks is None:
        attacks = NAMES
    elif isinstance(attacks, str) or callable(attacks):
        attacks = [attacks]
    elif isinstance(attacks, Mapping):
        return [(str(name), _checked(attack)) for name, attack in attacks.items()]
    if not isinstance(attacks, Iterable):
        raise _unknown(attacks)
    named: list[Named] = []
    for item in attacks:
        if isinstance(item, str):
            names = FAMILIES.get(item, (item,))
            if unknown := [name for name in names if name not in known]:
                raise _unknown(unknown[0])
            named += [(name, attack) for name in names for attack in known[name]]
        else:
            named.append((_name_of(item), _checked(item)))
    return list(dict.fromkeys(named))


def _mild() -> dict[str, tuple[Attack, ...]]:
    return _with(_MILD, longer=replace(_MILD, epochs=10), epochs=20) | {
        "prune-global": (Prune(0.3), Prune(0.5)),
        "prune-layer": (Prune(0.3, "layer"), Prune(0.5, "layer")),
        "prune-retrain": (Prune(0.5, retrain=_MILD),),
        "fine-prune": (FinePrune(0.5, _MILD),),
        "weight-noise": (WeightNoise(0.1),),
        "overwrite": (Overwrite("noise", tuning=_MILD),),
        "unlearn": (Unlearn("noise", tuning=_MILD),),
        "jpeg": (Jpeg(95),),
        "blur": (Blur(0.5),),
        "input-noise": (InputNoise(0.01),),
        "bit-depth": (BitDepth(4),),
        "resize": (Resize(0.75),),
        "shift": (Shift(0.035),),
    }


def _strong() -> dict[str, tuple[Attack, ...]]:
    momentum = replace(_STRONG, momentum=0.9, weight_decay=5e-4)
    adam = replace(_STRONG, optimizer="adam", learning_rate=0.003)
    tunings = _STRONG, momentum, adam
    whole = replace(_STRONG, share=1.0)
    return _with(_STRONG, longer=_STRONG, epochs=60) | {
        "fine-tune-all": (
            *(replace(tuning, soften=soften) for soften in (False, True) for tuning in tunings),
            replace(momentum, augment=True),
            replace(momentum, batch_size=16),
        ),
        "prune-global": tuple(Prune(share) for share in (0.6, 0.7, 0.8, 0.9)),
        "prune-layer": tuple(Prune(share, "layer") for share in (0.6, 0.7, 0.8, 0.9)),
        "prune-retrain": (Prune(0.8, retrain=_STRONG), Prune(0.9, retrain=_STRONG)),
        "fine-prune": (FinePrune(0.8, _STRONG), FinePrune(0.95, momentum)),
        "weight-noise": (WeightNoise(0.2), WeightNoise(0.4)),
        "overwrite": tuple(Overwrite(scheme, tuning=whole) for scheme in SCHEMES),
        "unlearn": tuple(Unlearn(scheme, tuning=momentum) for scheme in SCHEMES),
        "jpeg": (Jpeg(45), Jpeg(20)),
        "blur": (Blur(0.7), Blur(1.0)),
        "input-noise": (InputNoise(0.05), InputNoise(0.1)),
        "bit-depth": (BitDepth(3), BitDepth(2), BitDepth(1)),
        "resize": (Resize(0.5),),
        "shift": (Shift(0.035), Shift(0.07)),
    }


def _with(tuning: FineTune, longer: FineTune, epochs: int) -> dict[str, tuple[Attack, ...]]:
    """What differs between the strengths by its training alone, or not at all."""
    return {
        "fine-tune-last": (replace(tuning, layers="last"),),
        "fine-tune-all": (tuning,),
        "fine-tune-predicted": (replace(tuning, labels="predicted"),),
        "retrain-last": (replace(longer, layers="last", reinitialise=True, labels="predicted"),),
        "retrain-all": (replace(tuning, reinitialise=True, labels="predicted"),),
        "litert-float16": (QuantizeLiteRT("float16"),),
        "litert-int8": (QuantizeLiteRT("int8"),),
        "keras-int8": (QuantizeKeras("int8"),),
        "average-checkpoints": (Average("checkpoints", tuning),),
        "average-copy": (Average("copy", tuning),),
        "distill": (Extract("soft", temperature=3.0, epochs=epochs),),
        "extract-hard": (Extract("hard", epochs=epochs),),
        "extract-other": (Extract("soft", "other", epochs=epochs),),
        "extract-disjoint": (Extract("soft", queries="disjoint", epochs=epochs),),
        "extract-out-of-domain": (Extract("soft", queries="out-of-domain", epochs=epochs),),
        "flip": (Flip(),),
    }


def _name_of(attack: Any) -> str:
    name = getattr(attack, "__name__", type(attack).__name__)
    return "own" if name == "<lambda>" else str(name)


def _checked(attack: Any) -> Attack:
    if not callable(attack) or isinstance(attack, type):
        raise _unknown(attack)
    return attack  # type: ignore[no-any-return]


def _unknown(received: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Expected names of attacks ({', '.join(NAMES)}), of families ({', '.join(FAMILIES)}), or "
        f"functions from a model, data and a seed to a model. Received: {received!r}"
    )
