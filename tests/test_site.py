"""The reference of the site has all that is public."""

import re
from pathlib import Path

import pytest

import tfmark
from tfmark import attacks, errors

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
DOCUMENTED = {
    name
    for page in REFERENCE.glob("*.md")
    for name in re.findall(r"^::: (tfmark\.\S+)", page.read_text("utf-8"), re.MULTILINE)
}
NO_DOCSTRING = {"tfmark.__version__", "tfmark.attacks.FAMILIES", "tfmark.attacks.NAMES"}


def exceptions():
    """The public errors, each under its shortest name."""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, tfmark.TfmarkError):
            yield f"tfmark.{name}" if name in tfmark.__all__ else f"tfmark.errors.{name}"


PUBLIC = [
    *(f"tfmark.{name}" for name in tfmark.__all__),
    *(f"tfmark.attacks.{name}" for name in attacks.__all__),
    *exceptions(),
]


@pytest.mark.parametrize("name", sorted(set(PUBLIC)))
def test_the_reference_has_each_public_name(name):
    if name in NO_DOCSTRING:
        short = name.removeprefix("tfmark.attacks.")
        assert any(short in page.read_text("utf-8") for page in REFERENCE.glob("*.md"))
    else:
        assert name in DOCUMENTED
