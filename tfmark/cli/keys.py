"""`tfmark keygen`, `tfmark inspect` and `tfmark passphrase`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfmark.cli.common import KEY, SCHEMES, numbers, pair, plain_errors
from tfmark.cli.passphrases import (
    NEW_VARIABLE,
    VARIABLE,
    ask_new,
    file_option,
    given,
    load_key,
    passphrase_option,
)

if TYPE_CHECKING:
    from tfmark.keyfile import PublicKeyFacts


@click.command()
@click.argument("key", type=click.Path(path_type=Path))
@click.option("--scheme", type=click.Choice(SCHEMES), required=True)
@click.option("--shape", required=True, metavar="H,W[,C]", help="Shape of one image.")
@click.option("--classes", type=int, required=True, help="Number of classes.")
@click.option("--base-images", metavar="SOURCE",
              help="FILE.npz, FILE.npy, a folder of images, or a TFDS name.")  # fmt: skip
@click.option("--text", help="What the content scheme writes.")
@click.option("--marks", type=int, help="Number of marks.  [default: 48 for ten classes]")
@click.option("--value-range", metavar="LOW,HIGH",
              help="Scale of the pixels in training, as in 0,1.")  # fmt: skip
@click.option("--owner", default="", metavar="NAME",
              help="Who will say that the model is theirs; the commitment binds it.")  # fmt: skip
@click.option("--passphrase", is_flag=True,
              help="Ask for a passphrase, and encrypt the key with it.")  # fmt: skip
@file_option("--passphrase-file", "Encrypt the key with", f"{VARIABLE}, if it is set")
@click.option("--overwrite", is_flag=True, help="Replace the key file if there is one.")
@plain_errors
def keygen(
    key: Path, scheme: str, shape: str, classes: int, base_images: str | None, text: str | None,
    marks: int | None, value_range: str | None, owner: str, passphrase: bool,
    passphrase_file: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Make a new key and write it to the file KEY."""
    from tfmark.base_files import load_images
    from tfmark.errors import KeyFileExistsError
    from tfmark.key import WatermarkKey

    if key.exists() and not overwrite:
        raise KeyFileExistsError(f"{key} exists already; --overwrite replaces it.")
    sides = numbers(shape, "--shape")
    if not all(side.is_integer() for side in sides):
        raise click.UsageError(f"--shape takes whole numbers, not {shape!r}.")
    image_shape = tuple(map(int, sides))
    if passphrase and passphrase_file is not None:
        raise click.UsageError("Either --passphrase or --passphrase-file.")
    if passphrase:
        chosen: str | None = ask_new(key, "--passphrase-file", VARIABLE)
    else:
        chosen = given(passphrase_file, VARIABLE)
    new = WatermarkKey.generate(
        scheme=scheme,
        image_shape=image_shape,
        num_classes=classes,
        base_images=None if base_images is None else load_images(base_images, image_shape),
        num_marks=marks,
        value_range=None if value_range is None else pair(value_range),
        text=text,
        owner=owner,
    )
    new.save(key, overwrite, chosen)
    how = "" if chosen is None else ", locked with the passphrase"
    click.echo(f"wrote {key}{how}: keep it secret, and keep a copy")
    click.echo(f"commitment {new.commitment}: publish it before the model leaves the house")


@click.command()
@KEY
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Draw base images, marks and triggers (secret) into this folder.")  # fmt: skip
@passphrase_option
@plain_errors
def inspect(key: Path, pictures: Path | None, passphrase_file: str | None) -> None:
    """Show the public facts about a key.

    No passphrase is needed for them.
    """
    from tfmark.keyfile import read_public

    loaded = None if pictures is None else load_key(key, passphrase_file)
    for name, fact in _rows(read_public(key)).items():
        click.echo(f"{name + ':':19}{fact}")
    if loaded is not None and pictures is not None:
        from tfmark.pictures import draw_marks

        pictures.mkdir(parents=True, exist_ok=True)
        draw_marks(loaded, pictures / "marks.png", loaded.spec.num_marks)
        click.echo(f"drew {pictures / 'marks.png'}: it shows secrets, keep it with the key")


def _rows(facts: PublicKeyFacts) -> dict[str, object]:
    spec, records = facts.spec, facts.records
    left = spec.num_marks - records.opened
    return {
        "owner": spec.owner or "nobody is named",
        "commitment": facts.commitment.commitment,
        "scheme": spec.scheme,
        "image shape": "x".join(map(str, spec.image_shape)),
        "value range": "{:g} to {:g}".format(*facts.value_range),
        "classes": spec.num_classes,
        "marks": spec.num_marks,
        "opened marks": f"{records.opened}, {left} are left",
        "time stamps": len(records.time_stamps),
        "base images": f"{spec.base_groups * spec.base_per_group}, of which "
                       f"{spec.base_groups * spec.num_verification} for verification",
        "base images' root": spec.base_root,
        "passphrase": "yes, the key is locked" if facts.locked
                      else "none: whoever reads the file has the key",
    }  # fmt: skip


@click.command()
@KEY
@click.option("--remove", is_flag=True, help="Leave the key without a passphrase.")
@passphrase_option
@file_option(
    "--new-passphrase-file", "The new passphrase is", f"{NEW_VARIABLE}, or it is asked for"
)
@plain_errors
def passphrase(
    key: Path, remove: bool, passphrase_file: str | None, new_passphrase_file: str | None
) -> None:
    """Set, change or remove the passphrase of KEY.

    What else the file has stays as it is. Copies of the file that were made before keep the
    passphrase that they had.
    """
    if remove and new_passphrase_file is not None:
        raise click.UsageError("Either --remove or --new-passphrase-file.")
    if passphrase_file == "-" == new_passphrase_file:
        raise click.UsageError("Standard input has the old passphrase or the new one, not both.")
    loaded = load_key(key, passphrase_file)
    new = None
    if not remove:
        new = given(new_passphrase_file, NEW_VARIABLE)
        new = ask_new(key, "--new-passphrase-file", NEW_VARIABLE) if new is None else new
    loaded.save(key, overwrite=True, passphrase=new)
    click.echo(f"{key} opens {'without a passphrase' if remove else 'with the new passphrase'}")
