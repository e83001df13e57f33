"""``python -m training``: make data, train, adapt, evaluate and ship models. Every room brings its own commands."""

from __future__ import annotations

import typer

from napari_colipri.errors import ColipriError
from training.adapters.cli import app as adapt
from training.data.cli import app as data
from training.evaluation.cli import app as evaluate
from training.loop.cli import app as loop
from training.phantom.cli import app as phantom
from training.ship.cli import ship
from training.text.cli import app as text

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(adapt, name="adapt")
app.add_typer(data, name="data")
app.add_typer(evaluate, name="evaluate")
app.add_typer(phantom, name="phantom")
app.add_typer(loop)  # train and resume stand at the top
app.add_typer(text, name="text")
app.command()(ship)


def main() -> None:
    """Run the command that was typed; a typed error is one sentence and its exit status."""
    try:
        app()
    except ColipriError as error:
        typer.echo(error.message, err=True)
        raise SystemExit(error.exit_status) from None


if __name__ == "__main__":
    main()
