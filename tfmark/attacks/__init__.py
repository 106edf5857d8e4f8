"""What thieves do to a stolen model. Each attack makes another model of it, one idea a file.

```python
from tfmark.attacks import FineTune, Prune

attacked = FineTune(learning_rate=0.01, epochs=5)(model, (x_train, y_train))
pruned = Prune(0.9)(model, (x_train, y_train))
```

An attack takes the model, what the attacker has, and a seed. It gives a Keras model, or something
with a method `classify`, for `tfmark.verify`. It never changes the model that it is given. Any
function like that can be among the attacks of `tfmark.robustness`.
"""

from tfmark.attacks.averaging import Average
from tfmark.attacks.catalogue import FAMILIES, NAMES, Attack, catalogue
from tfmark.attacks.data import AttackData
from tfmark.attacks.extraction import Extract
from tfmark.attacks.fine_pruning import FinePrune
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.in_front import InFront, InputTransformation
from tfmark.attacks.inputs import (
    BitDepth,
    Blur,
    Flip,
    InputNoise,
    Jpeg,
    Resize,
    Shift,
)
from tfmark.attacks.overwriting import Overwrite
from tfmark.attacks.pruning import Prune
from tfmark.attacks.quantization import QuantizeKeras, QuantizeLiteRT
from tfmark.attacks.unlearning import Unlearn
from tfmark.attacks.weight_noise import WeightNoise

__all__ = [
    "FAMILIES",
    "NAMES",
    "Attack",
    "AttackData",
    "Average",
    "BitDepth",
    "Blur",
    "Extract",
    "FinePrune",
    "FineTune",
    "Flip",
    "InFront",
    "InputNoise",
    "InputTransformation",
    "Jpeg",
    "Overwrite",
    "Prune",
    "QuantizeKeras",
    "QuantizeLiteRT",
    "Resize",
    "Shift",
    "Unlearn",
    "WeightNoise",
    "catalogue",
]
