"""What --help tells."""

from collections.abc import Iterator

import click
import pytest
from typer.main import get_command

from specvq_codec.cli.app import app


def commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for key, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name}{key} ")
        else:
            yield f"{name}{key}", command


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_says_what_it_is(specvq, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(specvq(*name.split(), "--help").out.split())
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()) in shown, parameter.name
