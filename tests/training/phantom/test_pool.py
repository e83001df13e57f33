"""Files, manifest lines and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_colipri.errors import ColipriError
from training.data.manifest import read_manifest
from training.phantom import make_phantom
from training.phantom.cli import app
from training.phantom.findings import BIT
from training.phantom.patient import draw_patient
from training.phantom.pool import path_of, read_phantom, write_phantom
from training.phantom.protocol import draw_protocol

SMALL = ["--grid", "24", "--spacing", "15"]


def test_a_phantom_survives_its_file(tmp_path: Path) -> None:
    phantom = make_phantom(2, shape=(32, 32, 32), spacing_mm=(11.0, 11.0, 11.0))
    write_phantom(tmp_path / "a.npz", phantom)
    back = read_phantom(tmp_path / "a.npz")
    for name in ("hu", "labels", "truth", "affine"):
        assert np.array_equal(getattr(back, name), getattr(phantom, name))
        assert getattr(back, name).dtype == getattr(phantom, name).dtype
    assert back.findings == phantom.findings
    assert len(back.reports["train"]) == 4
    assert back.facts["protocol"]["regime"] == "train"


def test_a_file_that_is_no_phantom_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(ColipriError, match=r"b\.npz"):
        read_phantom(tmp_path / "b.npz")


def test_making_is_resumed_and_the_manifest_is_read_by_the_data_room(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    run = CliRunner()
    assert run.invoke(app, ["make", str(pool), "--count", "2", *SMALL]).exit_code == 0
    stamp = path_of(pool, 0).stat().st_mtime_ns
    assert run.invoke(app, ["make", str(pool), "--count", "3", *SMALL]).exit_code == 0
    assert path_of(pool, 0).stat().st_mtime_ns == stamp
    assert path_of(pool, 2).exists()
    done = run.invoke(app, ["manifest", str(pool), str(tmp_path / "m.jsonl"), "--split", "valid"])
    assert done.exit_code == 0, done.output
    lines = list(read_manifest(tmp_path / "m.jsonl"))
    assert len(lines) == 3
    records = [json.loads(text) for text in (tmp_path / "m.jsonl").read_text().splitlines()]
    stored = read_phantom(path_of(pool, 0))
    assert records[0]["labels"] == {
        name: None if np.isnan(stored.present[bit]) else int(stored.present[bit]) for name, bit in BIT.items()
    }
    assert set(records[0]["boxes"]) <= {item.name for item in stored.findings}
    assert records[0]["split"] == "valid"


def test_the_regimes_share_neither_slice_thickness_nor_noise() -> None:
    patient = draw_patient(1)
    train = [draw_protocol(seed, patient, "train") for seed in range(60)]
    other = [draw_protocol(seed, patient, "held_out") for seed in range(60)]
    assert not {each.slice_mm for each in train} & {each.slice_mm for each in other}
    assert max(each.noise_hu for each in train) < min(each.noise_hu for each in other)
    assert not {each.table for each in train} & {each.table for each in other} - {"none"}


def test_a_picture_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "3", "--out", str(tmp_path / "p.png"), "--grid", "32", "--quiet"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(app, ["show", "3", "--out", str(tmp_path / "q.png"), "--finding", "x"]).exit_code == 2
