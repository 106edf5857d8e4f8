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


class InOrder(click.Group):
    """A group that lists its commands in the order in which an owner needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(self.commands)


@click.group(cls=InOrder)
@click.version_option(package_name="tfmark")
def main() -> None:
    """Prove that a Keras model is yours when somebody else serves it.

    \b
    tfmark demo                     shows all of it on this machine
    tfmark keygen ... owner.tfmark  makes a secret key, to train with
    tfmark verify owner.tfmark URL  asks whether the model at URL is yours

    `tfmark COMMAND --help` says more of a command.
    """  # noqa: D301  click keeps the lines of a paragraph that begins so


COMMANDS = (
    demo, keygen, inspect, passphrase, commit, timestamp, probe, verify, verify_weights, audit,
    scan, serve, robustness,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
