"""evaluate."""

import typer

app = typer.Typer(help="Measure how good a bundle is.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.add_typer(app, name="evaluate")


@app.command()
def reconstruction() -> None:
    """to be written"""
