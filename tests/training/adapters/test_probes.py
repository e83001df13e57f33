"""Probes find what is planted in the tokens and nothing where labels were shuffled; padding is never pooled."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_colipri.engine.probe import POOLINGS, Pooling, Probe
from training.adapters.probes import ProbeRecipe, probe_scores, train_probes
from training.adapters.tokens import TokenSet
from training.evaluation.classification import classify
from training.evaluation.scores import EvaluationError

QUICK = ProbeRecipe(steps=150, batch=16, rates=(0.1, 0.01))


def write_tokens(folder: Path, count: int, seed: int, *, name: str, shuffled: bool = False) -> TokenSet:
    """Tokens in which finding 'spot' brightens one token in one channel, and 'haze' all of them in another."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    labels = (rng.random((count, 3)) < 0.5).astype(np.float32)
    labels[:, 2] = np.nan
    lines = []
    given = labels.copy()
    if shuffled:  # half of either class: no trace of the truth is left
        for column, value in itertools.product((0, 1), (0, 1)):
            held = np.flatnonzero(labels[:, column] == value)
            given[held, column] = np.arange(held.size) % 2
    for index in range(count):
        tokens = rng.normal(size=(3, 3, 3, 6)).astype(np.float16)
        inside = np.ones((3, 3, 3), bool)
        inside[..., 2] = False
        place = tuple(rng.integers(0, 2, 3))
        tokens[place][0] += 12 * labels[index, 0]
        tokens[..., 1] += 0.7 * labels[index, 1]
        tokens[~inside] = 100 * rng.normal()  # what padding holds says nothing
        np.savez(folder / f"{index}.npz", tokens=tokens, inside=inside, labels=given[index])
        lines.append(json.dumps({"study": f"{name}{index}", "patient": f"{name}{index}", "file": f"{index}.npz"}))
    (folder / "studies.jsonl").write_text("\n".join(lines) + "\n")
    record = {"towers": "t", "findings": ["Lung nodule", "Emphysema", "Consolidation"], "images": False}
    (folder / "tokens.json").write_text(json.dumps(record))
    return TokenSet(folder)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenSet, TokenSet, TokenSet]:
    folder = tmp_path_factory.mktemp("tokens")
    made = [write_tokens(folder / name, 120, seed, name=name) for seed, name in enumerate(("train", "valid", "test"))]
    return made[0], made[1], made[2]


def test_a_planted_signal_is_found_on_studies_never_seen(sets: tuple[TokenSet, TokenSet, TokenSet]) -> None:
    train, valid, test = sets
    trained = train_probes(train, valid, QUICK)
    assert trained.findings == ("Lung nodule", "Emphysema")  # the third has no labels
    assert len(trained.grid) == 10
    assert trained.grid[trained.probe.pooling, trained.rate] == max(trained.grid.values())
    rows = {row.finding: row.metrics for row in classify(probe_scores(trained, test), trained.thresholds).rows}
    assert rows["Lung nodule"]["auroc"].value > 0.9
    assert rows["Emphysema"]["auroc"].value > 0.9
    assert rows["Emphysema"]["f1"].value > 0.8
    again = train_probes(train, valid, QUICK)
    assert again.grid == trained.grid  # the seed decides everything


def test_shuffled_labels_teach_nothing(tmp_path: Path, sets: tuple[TokenSet, TokenSet, TokenSet]) -> None:
    quick = ProbeRecipe(steps=60, rates=(0.03,), poolings=("average", "attention"))
    found = []
    for seed in range(4):
        train = write_tokens(tmp_path / f"train{seed}", 200, 10 + seed, name="train", shuffled=True)
        valid = write_tokens(tmp_path / f"valid{seed}", 100, 20 + seed, name="valid", shuffled=True)
        rows = classify(probe_scores(train_probes(train, valid, quick), sets[2]), resamples=2).rows
        found += [row.metrics["auroc"].value for row in rows]
    assert abs(np.mean(found) - 0.5) < 0.15  # one run may lean either way


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_and_order_of_tokens_do_not_matter(pooling: Pooling) -> None:
    torch.manual_seed(0)
    probe = Probe(embed_dim=6, findings=3, pooling=pooling)
    tokens, inside = torch.randn(2, 10, 6), torch.arange(10).expand(2, 10) < 7
    want = probe(tokens, inside)
    other = tokens.clone()
    other[:, 7:] = 1000.0
    torch.testing.assert_close(probe(other, inside), want)
    order = torch.randperm(10)
    torch.testing.assert_close(probe(tokens[:, order], inside[:, order]), want)
    assert want.shape == (2, 3)


def test_one_token_is_pooled_to_itself() -> None:
    token = torch.randn(1, 1, 6)
    for pooling in ("average", "max", "attention", "mean-query"):
        probe = Probe(embed_dim=6, findings=1, pooling=pooling)
        torch.testing.assert_close(probe.pool(token, torch.ones(1, 1, dtype=torch.bool)), token[:, 0])


def test_a_patient_on_both_sides_is_an_error(sets: tuple[TokenSet, TokenSet, TokenSet]) -> None:
    with pytest.raises(EvaluationError, match="120 patients stand in the training and the validation tokens"):
        train_probes(sets[0], sets[0], QUICK)
