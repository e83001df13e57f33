"""``python -m training text``: a vocabulary from our own text, what the rules read in a report, opposite sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_colipri.cli.console import guarded
from training.data.errors import DataError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
@guarded
def vocabulary(
    out: Annotated[Path, typer.Argument(help="vocab.txt to write.")],
    sources: Annotated[list[Path], typer.Argument(help="Manifests (.jsonl, training split), texts, folders of texts.")],
    size: Annotated[int, typer.Option(min=1, help="Most tokens.")] = 8192,
    at_least: Annotated[int, typer.Option(min=1, help="How often a word must occur.")] = 2,
) -> None:
    """Train a WordPiece vocabulary on reports and their opposite sentences; the same text gives the same file."""
    from training.text.corpus import read_texts
    from training.text.vocabulary import prompt_words, train_vocabulary, with_opposites, write_vocabulary

    try:
        tokens = train_vocabulary(with_opposites(read_texts(sources)), size=size, at_least=at_least)
    except ValueError as error:
        raise DataError(str(error), code="vocabulary") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    write_vocabulary(out, tokens)
    typer.echo(f"wrote {out}: {len(tokens)} tokens")
    missing = sorted(set(prompt_words()) - set(tokens))
    if missing:
        typer.echo(f"Words of the default prompts that this text does not teach: {', '.join(missing)}.")


@app.command()
@guarded
def extract(
    reports: Annotated[list[Path], typer.Argument(help="Reports as text, folders of them, manifests (.jsonl).")],
) -> None:
    """Print what the rules read in each report: one JSON object a line."""
    from napari_colipri.text.extract import extract as read
    from napari_colipri.text.extract import report_labels
    from training.text.corpus import read_texts

    for text in read_texts(reports, split=None):
        mentions = read(text)
        found = {"labels": report_labels(mentions), "mentions": [mention.to_json() for mention in mentions]}
        typer.echo(json.dumps(found, ensure_ascii=False))


@app.command()
@guarded
def negate(
    sentences: Annotated[list[str], typer.Argument(help="Sentences.")],
) -> None:
    """Print the opposite of each sentence."""
    from napari_colipri.text.negation import negate as opposite

    for sentence in sentences:
        try:
            typer.echo(opposite(sentence))
        except ValueError as error:
            raise DataError(str(error), code="no_words") from error
