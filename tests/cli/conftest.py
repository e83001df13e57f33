"""A tiny random bundle, a small study, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_colipri.cli import app
from tests.bundles import write_tiny_bundle
from tests.volumes import affine_for, chest, make_volume

SHAPE = (40, 30, 44)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its status and its words."""

    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def call(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            app([str(word) for word in words], prog_name="napari-colipri")
        code = ended.value.code
        out, err = capfd.readouterr()
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle with random weights."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The schematic chest as NIfTI, in a folder that carries a name."""
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    affine = affine_for("LPS", (8, 8, 8), SHAPE)
    volume = make_volume(affine, SHAPE, chest, dtype=np.int16)
    nib.save(nib.Nifti1Image(np.asarray(volume.hu), affine), folder / "ct.nii.gz")
    return folder / "ct.nii.gz"
