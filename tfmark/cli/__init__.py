"""The `tfmark` command, one file for each group of commands. Each imports what it needs to run."""

from __future__ import annotations

import click

from tfmark.cli.asking import probe, verify
from tfmark.cli.attacking import robustness
from tfmark.cli.keys import inspect, keygen
from tfmark.cli.running import demo, serve
from tfmark.cli.scanning import scan


@click.group()
@click.version_option(package_name="tfmark")
def main() -> None:
    """Prove that a Keras model is yours when somebody else serves it."""


for command in (demo, keygen, inspect, probe, verify, scan, serve, robustness):
    main.add_command(command)
