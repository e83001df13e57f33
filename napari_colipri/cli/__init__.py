"""The command line: the same capabilities without a screen.

Nothing heavy is imported before a command needs it: ``napari-colipri --help`` loads neither torch nor napari.
"""

from __future__ import annotations

import sys
import warnings

import typer

from napari_colipri.cli import doctor, libraries, models, studies

__all__ = ["app", "main"]

app = typer.Typer(
    name="napari-colipri",
    help=(
        "Findings, masks, similar cases and report drafts from a 3D CT. Research use only.\n\n"
        "STUDY is a NIfTI, NRRD or MetaImage file, a DICOM folder or one file of it, or a zip of one of these."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # local variables in a traceback could hold patient data
    epilog="Exit status: 0 done, 2 usage, 3 study refused, 4 bundle or library problem, 5 out of memory or disk, "
    "130 cancelled.",
)
studies.register(app)
app.add_typer(models.app, name="model")
app.add_typer(libraries.app, name="library")
doctor.register(app)


def main() -> None:
    """Run the command line of this process; never returns."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # third parties' deprecations are for their developers
    app(prog_name="napari-colipri")
