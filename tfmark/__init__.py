"""Prove that a Keras model is yours when somebody else serves it.

Embed a secret watermark while `model.fit` runs:

    key = tfmark.WatermarkKey.generate(scheme="noise", image_shape=(28, 28, 1), num_classes=10,
                                       base_images=x_train[:512])
    key.save("owner.tfmark")   # keep it secret; publish `key.commitment` before the model
    model.fit(train.apply(tfmark.inject(key)), epochs=5, callbacks=[tfmark.WatermarkCallback(key)])

Ask a suspect later, over its prediction API alone:

    verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key)
    verdict.owned, verdict.p_value, print(verdict)

Prove it to somebody who trusts neither side:

    tfmark.verify("http://localhost:8501/v1/models/digits", key, evidence="evidence.zip")
    tfmark.audit("evidence.zip", tsa_ca="authority.pem")

The rest, by purpose:

    embedding       WatermarkKey, inject, WatermarkCallback, default_num_marks, Mark, TriggerSet
    asking          verify, Verdict, endpoint_from, Endpoint, align
    proving         audit, Audit, Evidence
    in the weights  mark_weights, WeightMark, verify_weights, WeightVerdict
    trying it out   serve, robustness, RobustnessReport; tfmark.attacks
    errors          TfmarkError; tfmark.errors

Each name is loaded when it is first used: verifying a remote model imports no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfmark.alignment import align as align
    from tfmark.attacking import robustness as robustness
    from tfmark.callback import WatermarkCallback as WatermarkCallback
    from tfmark.endpoints import Endpoint as Endpoint
    from tfmark.endpoints import endpoint_from as endpoint_from
    from tfmark.errors import TfmarkError as TfmarkError
    from tfmark.evidence.audit import audit as audit
    from tfmark.evidence.record import Evidence as Evidence
    from tfmark.evidence.steps import Audit as Audit
    from tfmark.hardening import harden as harden
    from tfmark.hardening import soften as soften
    from tfmark.injection import inject as inject
    from tfmark.key import WatermarkKey as WatermarkKey
    from tfmark.robustness_report import RobustnessReport as RobustnessReport
    from tfmark.serving import serve as serve
    from tfmark.statistics import default_num_marks as default_num_marks
    from tfmark.triggers import Mark as Mark
    from tfmark.triggers import TriggerSet as TriggerSet
    from tfmark.verdict import Verdict as Verdict
    from tfmark.verification import verify as verify
    from tfmark.weight_mark import WeightMark as WeightMark
    from tfmark.weight_mark import mark_weights as mark_weights
    from tfmark.weight_verdict import WeightVerdict as WeightVerdict
    from tfmark.weight_verification import verify_weights as verify_weights

__version__ = "0.1.0"

_MODULES = {
    "Audit": "evidence.steps",
    "Endpoint": "endpoints",
    "Evidence": "evidence.record",
    "Mark": "triggers",
    "RobustnessReport": "robustness_report",
    "TfmarkError": "errors",
    "TriggerSet": "triggers",
    "Verdict": "verdict",
    "WatermarkCallback": "callback",
    "WatermarkKey": "key",
    "WeightMark": "weight_mark",
    "WeightVerdict": "weight_verdict",
    "align": "alignment",
    "audit": "evidence.audit",
    "default_num_marks": "statistics",
    "endpoint_from": "endpoints",
    "harden": "hardening",
    "inject": "injection",
    "mark_weights": "weight_mark",
    "robustness": "attacking",
    "serve": "serving",
    "soften": "hardening",
    "verify": "verification",
    "verify_weights": "weight_verification",
}

_NEED = {
    "WatermarkCallback": "keras",
    "WeightMark": "keras",
    "harden": "keras",
    "inject": "tensorflow",
    "mark_weights": "keras",
    "robustness": "keras",
    "soften": "keras",
}

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604  the names are those of the table


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tfmark' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"tfmark.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        raise ModuleNotFoundError(
            f"tfmark.{name} needs TensorFlow: pip install 'tfmark[tensorflow]'", name=error.name
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    """What can be loaded here: `help(tfmark)` and completion would fail on anything else."""
    from importlib.util import find_spec

    return sorted(name for name in __all__ if name not in _NEED or find_spec(_NEED[name]))
