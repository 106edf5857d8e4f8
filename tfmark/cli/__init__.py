"""The `tfmark` command, one file for each group of commands. Each imports what it needs to run."""

from __future__ import annotations

import click

from tfmark.cli.asking import probe, verify
from tfmark.cli.attacking import robustness
from tfmark.cli.auditing import audit
from tfmark.cli.committing import commit, timestamp
from tfmark.cli.keys import inspect, keygen, passphrase
from tfmark.cli.running import demo, serve
from tfmark.cli.scanning import scan
from tfmark.cli.weights import verify_weights


@click.group()
@click.version_option(package_name="tfmark")
def main() -> None:
    """Prove that a Keras model is yours when somebody else serves it."""


COMMANDS = (
    demo, keygen, inspect, passphrase, commit, timestamp, probe, verify, verify_weights, audit,
    scan, serve, robustness,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
