"""One phantom from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.embedded.phantom.anatomy import Patient, build_body, random_patient
from training.embedded.phantom.findings import PLANTED, PhantomFinding, plant
from training.embedded.phantom.grid import Grid, Painter
from training.embedded.phantom.scanner import scan

__all__ = ["Phantom", "make_phantom", "training_grid"]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic chest CT with truth.

    Attributes
    ----------
    hu
        int16 [x, y, z], HU.
    labels
        uint8 [x, y, z], :data:`training.embedded.phantom.anatomy.CLASSES`.
    truth
        uint16 [x, y, z], bit n set where ``PLANTED[n]`` is.
    affine
        Index to RAS mm, 4 x 4.
    findings
        What was planted, in canonical order.
    patient
        Its parameters.
    seed
        That made it.
    """

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint16]
    affine: npt.NDArray[np.float64]
    findings: tuple[PhantomFinding, ...]
    patient: Patient
    seed: int

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Bool [len(PLANTED)]."""
        names = {item.name for item in self.findings}
        return np.array([name in names for name in PLANTED])


def training_grid(rng: np.random.Generator, size: int = 72, spacing: float = 5.0) -> Grid:
    """Grid of the embedded bundle, its centre moved as in real scans."""
    centre = (float(rng.normal(0, 10)), float(rng.normal(-8, 12)), float(rng.normal(-5, 28)))
    return Grid((size,) * 3, (spacing,) * 3, centre)


def _tilt(rng: np.random.Generator, degrees: float) -> npt.NDArray[np.float64]:
    a, b, c = np.deg2rad(rng.normal(0, degrees, 3))
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


def _draw_findings(rng: np.random.Generator) -> frozenset[str]:
    """Each finding with one rate per patient, so that healthy and very ill patients both occur."""
    rate = rng.choice([0.0, 0.12, 0.25, 0.4], p=[0.1, 0.3, 0.4, 0.2])
    return frozenset(name for name in PLANTED if rng.random() < rate)


def make_phantom(
    seed: int, *, grid: Grid | None = None, wanted: frozenset[str] | None = None, quiet: bool = False
) -> Phantom:
    """Make a phantom.

    Parameters
    ----------
    seed
        Everything random follows from it.
    grid
        Sampling grid; None draws the embedded bundle's grid.
    wanted
        Findings to plant; None draws them.
    quiet
        Full field of view, upright patient and little noise, for shipped samples.
    """
    rng = np.random.default_rng(seed)
    grid = grid or training_grid(rng)
    wanted = _draw_findings(rng) if wanted is None else wanted
    large = "Cardiomegaly" in wanted
    lift = rng.uniform(8, 30) if "Atelectasis" in wanted else 0.0
    patient = random_patient(
        rng,
        heart_scale=float(rng.uniform(1.28, 1.6) if large else rng.uniform(0.85, 1.1)),
        raise_right=float(lift * rng.random()),
        raise_left=float(lift * rng.random()),
    )
    painter = Painter(grid, np.eye(3) if quiet else _tilt(rng, 4.0))
    body = build_body(painter, patient, rng)
    truth, findings = plant(body, wanted, rng)
    hu = np.round(scan(body, rng, quiet=quiet)).astype(np.int16)
    return Phantom(hu, body.labels, truth, grid.affine, findings, patient, seed)
