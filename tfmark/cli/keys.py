"""`tfmark keygen` and `tfmark inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from tfmark.cli.common import KEY, SCHEMES, numbers, pair, plain_errors


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
@click.option("--overwrite", is_flag=True, help="Replace the key file if there is one.")
@plain_errors
def keygen(
    key: Path, scheme: str, shape: str, classes: int, base_images: str | None, text: str | None,
    marks: int | None, value_range: str | None, overwrite: bool,
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
    new = WatermarkKey.generate(
        scheme=scheme,
        image_shape=image_shape,
        num_classes=classes,
        base_images=None if base_images is None else load_images(base_images, image_shape),
        num_marks=marks,
        value_range=None if value_range is None else pair(value_range),
        text=text,
    )
    new.save(key, overwrite)
    click.echo(f"wrote {key}: keep it secret, and keep a copy")
    click.echo(f"commitment {new.commitment}: publish it before the model leaves the house")


@click.command()
@KEY
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Draw base images, marks and triggers (secret) into this folder.")  # fmt: skip
@plain_errors
def inspect(key: Path, pictures: Path | None) -> None:
    """Show the public facts about a key."""
    from tfmark.key import WatermarkKey

    loaded = WatermarkKey.load(key)
    spec = loaded.spec
    facts = {
        "commitment": loaded.commitment,
        "scheme": spec.scheme,
        "image shape": "x".join(map(str, spec.image_shape)),
        "value range": "{:g} to {:g}".format(*loaded.value_range),
        "classes": spec.num_classes,
        "marks": spec.num_marks,
        "base images": f"{spec.base_groups * spec.base_per_group}, of which "
                       f"{spec.base_groups * spec.num_verification} for verification",
        "base images' root": spec.base_root,
    }  # fmt: skip
    for name, fact in facts.items():
        click.echo(f"{name + ':':19}{fact}")
    if pictures is not None:
        from tfmark.pictures import draw_marks

        pictures.mkdir(parents=True, exist_ok=True)
        draw_marks(loaded, pictures / "marks.png", spec.num_marks)
        click.echo(f"drew {pictures / 'marks.png'}: it shows secrets, keep it with the key")
