"""What `tfmark probe` prints: what a service says of itself, and how to verify it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import DEFAULT, Signature, TensorInfo

MOST = 20  # signatures that are shown, and inputs and outputs of each
_SCORES = ("float16", "bfloat16", "float32", "float64")


def report(description: Description) -> list[tuple[str, str]]:
    """What was found: names of facts, and the facts."""
    facts = [("protocol:", description.protocol)]
    if description.versions:
        facts.append(("versions:", ", ".join(description.versions[:MOST])))
    for signature in description.signatures[:MOST]:
        facts.append(("signature:", signature.name))
        facts += [("  input:", str(tensor)) for tensor in signature.inputs[:MOST]]
        facts += [("  output:", str(tensor)) for tensor in signature.outputs[:MOST]]
    if not description.signatures:
        facts.append(("signature:", "the service tells nothing of its inputs and outputs"))
    return facts


def verify_command(
    address: str,
    description: Description,
    given: list[tuple[str, str | None]],
    clean: Callable[[str], str] = str,
) -> str:
    """The command that verifies the service.

    Args:
        address: address of the model.
        description: what it said of itself.
        given: options of the command line that were given, with `None` for a flag.
        clean: takes secrets out of names that the service chose.
    """
    options = dict(given)
    added: list[tuple[str, str | None]] = []
    protocol = description.protocol.partition(" ")[0]
    if protocol == "kserve-v1":
        added.append(("--protocol", protocol))
    signature = _askable(description.signatures, options.get("--signature"))
    if signature is not None:
        if signature.name != DEFAULT:
            added.append(("--signature", clean(signature.name)))
        scores = [tensor for tensor in signature.outputs if _has_scores(tensor)]
        if len(signature.outputs) > 1 and len(scores) == 1:
            added.append(("--output", clean(scores[0].name)))
    words = ["tfmark", "verify", "KEY", address]
    for name, value in (*given, *(pair for pair in added if pair[0] not in options)):
        words += [name] if value is None else [name, value]
    return shlex.join(words)


def _askable(signatures: tuple[Signature, ...], name: str | None) -> Signature | None:
    """The signature to ask: the one that was named, the default one, else one for images."""
    ranked = sorted(signatures, key=lambda each: (each.name != DEFAULT, not _takes_images(each)))
    return next((each for each in ranked if name in (None, each.name)), None)


def _takes_images(signature: Signature) -> bool:
    shapes = [tensor.shape for tensor in signature.inputs]
    return len(shapes) == 1 and (shapes[0] is None or len(shapes[0]) > 2)


def _has_scores(tensor: TensorInfo) -> bool:
    shape = tensor.shape or ()
    return tensor.dtype in _SCORES and len(shape) == 2 and shape[1] not in (0, 1)
