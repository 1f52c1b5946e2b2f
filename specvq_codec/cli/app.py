"""The `specvq` command: its families of commands, and what becomes of errors."""

import sys
import warnings
from typing import Annotated, Any

import typer

from .. import __version__
from ..bitstream.errors import SpecVQError
from . import codec, evaluate, train, weights
from .report import say

app = typer.Typer(
    help="Stores any sound at about 0.2 kbps, and brings it back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
codec.register(app)
evaluate.register(app)
app.add_typer(weights.app, name="weights")
app.add_typer(train.app, name="train")
app.add_typer(train.data_app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"specvq {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Stores any sound at about 0.2 kbps, and brings it back."""


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        say(f"specvq: warning: {message}")


def main() -> None:
    """Run the command line: a user's error is one sentence on stderr and the error's exit code, never a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except SpecVQError as error:
        say(f"specvq: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("specvq: stopped.")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
