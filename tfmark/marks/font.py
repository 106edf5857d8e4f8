"""A pixel font of three by five pixels a character.

It is part of the key format: system fonts and renderers change, and triggers must not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfmark.errors import InvalidArgumentError

# Five octal digits a character, one for each row from the top; 4 is the left pixel, 1 the right.
_ROWS = {
    "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447",
    "M": "57755", "N": "65555", "O": "25552", "P": "65644", "Q": "25561", "R": "65655",
    "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "61247", "3": "61216",
    "4": "55711", "5": "74616", "6": "34757", "7": "71122", "8": "75757", "9": "75716",
    " ": "00000", "-": "00700", ".": "00002", ":": "02020", "/": "11244", "_": "00007",
    "+": "02720", "!": "22202", "?": "61202", "&": "25256", "#": "57575", "@": "75743",
}  # fmt: skip


def write(text: str) -> npt.NDArray[np.bool_]:
    """Write a line of text, in capitals.

    Returns:
        A bool array of shape (5, 4 * len(text) - 1), True where there is ink.

    Raises:
        InvalidArgumentError: if the font lacks a character.
    """
    unknown = sorted(set(text.upper()) - _ROWS.keys())
    if unknown or not text.strip():
        raise InvalidArgumentError(
            f"Cannot write this text. Expected letters, digits, spaces and any of "
            f"{''.join(c for c in _ROWS if not c.isalnum() and c != ' ')}. Received: {text!r}"
        )
    glyphs = [[int(row) << 1 for row in _ROWS[character]] for character in text.upper()]
    bits = [[row >> bit & 1 for glyph in glyphs for row in [glyph[y]] for bit in (3, 2, 1, 0)]
            for y in range(5)]  # fmt: skip
    return np.array(bits, bool)[:, :-1]
