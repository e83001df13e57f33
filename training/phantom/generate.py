"""One phantom from one seed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_colipri.text.findings import FINDING_NAMES
from training.phantom.body import build_body, build_reference
from training.phantom.canvas import Canvas
from training.phantom.findings import BIT, CHANCE, Finding, Plan, Scene, Truth, View, draw_plan, plant
from training.phantom.grid import Frame, Grid
from training.phantom.patient import Patient, Phase, draw_patient
from training.phantom.protocol import Protocol, Regime, draw_protocol, quiet_protocol
from training.phantom.randomise import randomise
from training.phantom.scanner import in_view, scan

__all__ = ["Phantom", "make_phantom", "one_thread"]

#: Of a finding's voxels, the share in view from which it counts as shown, and below which as not there.
_SHOWN, _GONE = 0.3, 0.02


@dataclass(frozen=True, eq=False)
class Phantom:
    """A scan with its truth. Arrays are indexed [x, y, z], x towards the patient's right, y front, z head.

    Attributes
    ----------
    seed
        What it was made from.
    hu
        int16.
    labels
        uint8, :data:`training.phantom.classes.CLASSES`.
    truth
        uint32; bit n is the n-th finding of :data:`napari_colipri.text.findings.FINDING_NAMES`.
    affine
        Voxel to RAS mm, 4 x 4.
    findings
        Those that the scan shows, in canonical order.
    undecided
        Findings that are there but mostly outside of the scan, or that the scan cannot show.
    patient, protocol
        Who was scanned and how.
    """

    seed: int
    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint32]
    affine: npt.NDArray[np.float64]
    findings: tuple[Finding, ...]
    undecided: tuple[str, ...]
    patient: Patient
    protocol: Protocol

    @property
    def present(self) -> npt.NDArray[np.float32]:
        """1, 0 or NaN for each of the 18 findings."""
        here = {item.name for item in self.findings}
        values = [np.nan if name in self.undecided else float(name in here) for name in FINDING_NAMES]
        return np.asarray(values, np.float32)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute on one thread of the CPU: chunks of several threads round differently at their ends."""
    before = torch.get_num_threads()
    if device.type == "cpu" and before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def make_phantom(  # noqa: PLR0913 - keywords, each with a default
    seed: int,
    *,
    shape: tuple[int, int, int] = (72, 72, 72),
    spacing_mm: tuple[float, float, float] = (5.0, 5.0, 5.0),
    wanted: Sequence[str] | None = None,
    chance: float = CHANCE,
    regime: Regime = "train",
    coverage: str | None = None,
    phase: Phase | None = None,
    quiet: bool = False,
    randomised: bool = False,
    device: torch.device | str = "cpu",
) -> Phantom:
    """Make the phantom of a seed.

    Parameters
    ----------
    seed
        Same seed and arguments, same phantom, whatever the number of threads. The patient and the places of its
        findings are the same on every grid that covers the same box; on another kind of device voxels may differ by
        rounding.
    shape, spacing_mm
        The grid, along x, y, z.
    wanted
        Exactly these findings (where the scan covers their place) instead of a draw.
    chance
        Of each finding in a draw; crowded phantoms show a detector more of everything.
    regime, coverage
        See :func:`training.phantom.protocol.draw_protocol`.
    phase
        Contrast phase instead of a draw.
    quiet
        Whole chest, little noise, full field of view.
    randomised
        Densities and textures drawn anew for each class (:func:`training.phantom.randomise.randomise`).
    device
        Where the tensors live.

    Raises
    ------
    ValueError
        If a finding, regime or coverage is unknown.
    """
    device = torch.device(device)
    with one_thread(device), torch.no_grad():
        plan = draw_plan(seed, wanted, chance=chance)
        arms = bool(np.random.default_rng((seed, 505)).random() < (0.9 if regime == "train" else 0.5)) or quiet
        patient = draw_patient(
            seed,
            cardiomegaly="Cardiomegaly" in plan.wanted,
            inflation=plan.inflation_mm,
            raised_mm=plan.raised_mm,
            phase=phase,
            arms_up=arms,
        )
        protocol = quiet_protocol(patient) if quiet else draw_protocol(seed, patient, regime, coverage)
        return _make(seed, plan, patient, protocol, shape, spacing_mm, randomised, device)


def _make(
    seed: int,
    plan: Plan,
    patient: Patient,
    protocol: Protocol,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    randomised: bool,
    device: torch.device,
) -> Phantom:
    grid = Grid(shape, spacing_mm, (*protocol.centre_xy, 0.5 * (protocol.low_mm + protocol.high_mm)))
    frame = Frame.draw(np.random.default_rng((seed, 606)), tilt_deg=protocol.tilt_deg, bend_mm=protocol.bend_mm)
    canvas = Canvas(grid, frame, soft_mm=protocol.soft_mm, device=device)
    reference = build_reference(patient, device)
    body = build_body(canvas, patient, reference)
    truth = Truth(shape, device)
    view = View(grid, frame, protocol.low_mm, protocol.high_mm, protocol.centre_xy, protocol.radius_mm)
    findings = plant(Scene(body, reference, view, truth), plan, seed)
    if randomised:
        randomise(canvas, np.random.default_rng((seed, 707)))
    hu = scan(body, truth, protocol, np.random.default_rng((seed, 808)))
    seen = in_view(body, protocol)
    kept, undecided = _judge(findings, truth, seen, view, patient)
    bits = torch.where(seen, truth.bits, torch.zeros_like(truth.bits))
    mask = sum(1 << BIT[item.name] for item in kept)
    return Phantom(
        seed=seed,
        hu=hu.round().to(torch.int16).cpu().numpy(),
        labels=torch.where(seen, canvas.labels, torch.zeros_like(canvas.labels)).cpu().numpy(),
        truth=(bits & mask).cpu().numpy().astype(np.uint32),
        affine=grid.affine,
        findings=kept,
        undecided=undecided,
        patient=patient,
        protocol=protocol,
    )


def _judge(
    findings: tuple[Finding, ...], truth: Truth, seen: torch.Tensor, view: View, patient: Patient
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Split the findings into those that the scan shows and those it cannot decide; the rest is not there."""
    kept, undecided = [], []
    heart = np.array([(patient.heart_x, patient.heart_y, patient.heart_z)])
    for item in findings:
        own = ((truth.bits >> BIT[item.name]) & 1).bool()
        total = int(own.sum())
        share = int((own & seen).sum()) / total if total else 0.0
        if item.name == "Cardiomegaly" and not view.shows(heart, 20.0)[0]:
            share = min(share, 0.5 * (_SHOWN + _GONE))
        if share >= _SHOWN:
            kept.append(item)
        elif share > _GONE:
            undecided.append(item.name)
    if not view.shows(heart, 20.0)[0]:  # its size can neither be seen nor be called normal
        undecided.append("Cardiomegaly")
    return tuple(kept), tuple(dict.fromkeys(undecided))
