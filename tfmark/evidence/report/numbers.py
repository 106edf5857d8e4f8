"""Numbers as people read them."""

from __future__ import annotations

import math

from tfmark.verdict import rounded_up

_NAMES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_TIMES = "\N{MULTIPLICATION SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(log10: float) -> str:
    """A number with this logarithm: 0.049 or 512, and times a power of ten if far from 1."""
    if -3 <= log10 < 5:
        return f"{10**log10:,.0f}" if log10 >= 3 else f"{10**log10:.3g}"
    whole = math.floor(log10)
    mantissa, carry = f"{10 ** (log10 - whole):.2e}".split("e")
    power = "10" + str(whole + int(carry)).translate(_RAISED)
    return power if float(mantissa) == 1 else f"{float(mantissa):g} {_TIMES} {power}"


def shown(number: float) -> str:
    """A positive number, however large or small."""
    return power_of_ten(math.log10(number)) if number > 0 else "0"


def at_most(number: float) -> str:
    """The same, rounded up to two digits."""
    return shown(rounded_up(number))


def odds(probability: float) -> str:
    """A probability in words that say no more than it does: 1 in 2.0 billion."""
    if probability >= 1e-3:
        return f"{math.ceil(1000 * probability) / 10:g} in 100"
    inverse = 1 / max(probability, 1e-300)
    unit = 10 ** (math.floor(math.log10(inverse)) - 1)
    floored = math.floor(inverse / unit) * unit
    if floored >= 10**15:
        return f"1 in {power_of_ten(math.log10(floored))}"
    for size, name in _NAMES:
        if floored >= size:
            return f"1 in {floored / size:.{1 if floored < 10 * size else 0}f} {name}"
    return f"1 in {floored:,.0f}"
