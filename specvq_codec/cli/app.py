"""The `specvq` command: its families of commands, and what becomes of errors."""

import io
import os
import signal
import sys
import warnings
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .. import __version__
from ..bitstream.errors import SpecVQError
from ..files import reason_of
from . import (
    codec,
    data,
    evaluate,
    evaluate_classifier,
    evaluate_generation,
    evaluate_sampler,
    pictures,
    sampler,
    train,
    weights,
)
from .report import say


class _Commands(TyperGroup):
    """All commands; what goes wrong in one becomes a sentence on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SpecVQError as error:
            say(f"specvq: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            say("specvq: stopped.")
            raise typer.Exit(128 + signal.SIGINT) from error
        except BrokenPipeError as error:  # the program that reads our output wants no more of it
            raise typer.Exit(141) from error
        except OSError as error:  # a full disk, a folder without permission: the machine's fault, not a defect
            where = f"{error.filename}: " if error.filename else ""
            say(f"specvq: {where}{reason_of(error)}.")
            raise typer.Exit(3) from error


app = typer.Typer(
    cls=_Commands,
    help="Stores any sound at about 0.2 kbps, and brings it back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which fills paragraphs anew for the width of the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)
codec.register(app)
sampler.register(app)
app.add_typer(evaluate.app, name="evaluate")
pictures.register(app, evaluate.app)
evaluate_sampler.register(evaluate.app)
evaluate_generation.register(evaluate.app)
evaluate_classifier.register(evaluate.app)
app.add_typer(weights.app, name="weights")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")


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


def _stop(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)  # as an exception, so that half-written files are removed


def _open_standard_streams() -> None:
    """Give the standard streams that a caller has closed to nobody.

    Otherwise the next file that is opened would take their places, and get messages. Input and output are opened so
    that to use them is an error, and messages go nowhere.
    """
    for number, name, flags in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)  # as the others are: programs that are started need them, too
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, errors="backslashreplace", closefd=False))


def main() -> None:
    """Run the command line."""
    _open_standard_streams()
    warnings.showwarning = _show_warning
    for name in ("SIGTERM", "SIGHUP"):  # the second does not exist on Windows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: no name of a file is an error
    try:
        app()
    except OSError as error:  # outside of the commands, as from --version
        say(f"specvq: {reason_of(error)}.")
        sys.exit(3)
    finally:
        _flush()


def _flush() -> None:
    """Write what waits for the standard output; where that fails, it is the failure, unless there was one before."""
    try:
        sys.stdout.flush()
    except OSError as error:  # Python would flush again at its end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leaving = error.__context__
        ended_well = leaving is None or (isinstance(leaving, SystemExit) and not leaving.code)
        if ended_well and not isinstance(error, BrokenPipeError):
            say(f"specvq: The standard output could not be written ({reason_of(error)}).")
            sys.exit(3)
