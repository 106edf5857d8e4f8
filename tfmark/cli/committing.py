"""`tfmark commit` and `tfmark timestamp`: what is done before a model leaves the house."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tfmark.cli.common import FILE, KEY, plain_errors
from tfmark.cli.endpoint_options import collect_way, way_options

NEW = click.Path(dir_okay=False, path_type=Path)


@click.command()
@KEY
@click.option("--out", type=NEW, default=Path("commitment.json"), show_default=True,
              metavar="FILE", help="Where to write the commitment.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace another file of that name.")
@plain_errors
def commit(key: Path, out: Path, overwrite: bool) -> None:
    """Print the commitment of KEY.

    It is written to a file as well. Nothing in it is secret, and no passphrase is needed. Publish
    it, or have it stamped by `tfmark timestamp`, before the model leaves the house.
    """
    from tfmark.keyfile import read_public

    commitment = read_public(key).commitment
    if not (out.exists() and out.read_bytes() == commitment.document):
        _check_free(out, overwrite)
        out.write_bytes(commitment.document)
    click.echo(f"commitment {commitment.commitment}")
    click.echo(f"wrote {out}: publish it before the model leaves the house")


@click.command()
@KEY
@click.option("--tsa", required=True, metavar="URL", help="Address of the authority.")
@click.option("--ca", type=FILE, metavar="CA.pem",
              help="Root by which the stamp is checked, with intermediate certificates if the "
                   "authority does not send them (--cacert is for TLS).  [default: those of the "
                   "system]")  # fmt: skip
@click.option("--out", type=NEW, metavar="FILE.tsr",
              help="Write the time stamp to this file as well.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace that file if there is one.")
@way_options
@plain_errors
def timestamp(
    key: Path, tsa: str, ca: Path | None, out: Path | None, overwrite: bool, **options: Any
) -> None:
    """Have a time-stamping authority stamp KEY's commitment.

    It is asked as RFC 3161 says, and learns a hash. Its time stamp is checked, and kept in the file
    KEY if it holds. No passphrase is needed. Several authorities may stamp the same key.
    """
    from tfmark.endpoints.connection import Connection
    from tfmark.keyfile import Records, read_public, update_records
    from tfmark.time_stamping import ask_for_time_stamp
    from tfmark.time_stamps import load_certificates

    if out is not None:
        _check_free(out, overwrite)
    commitment = read_public(key).commitment
    trusted = None if ca is None else load_certificates(ca)
    way = Connection(**collect_way(options))
    response, stamp = ask_for_time_stamp(tsa, commitment.document, trusted, way)

    def kept(records: Records) -> Records:
        return replace(records, time_stamps=(*records.time_stamps, response))

    records = update_records(key, kept, commitment)
    if out is not None:
        out.write_bytes(response)
    click.echo(str(stamp))
    count = len(records.time_stamps)
    click.echo(f"kept in {key}: {count} time stamp{'s' * (count > 1)} of {commitment.commitment}")


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise click.UsageError(f"{path} exists already; --overwrite replaces it.")
