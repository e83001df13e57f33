"""Medical material: pacemakers, ports, catheters, wires, valves, stents, tubes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.phantom.canvas import curve
from training.phantom.findings.base import BIT, Finding, Scene
from training.phantom.findings.vessels import coronary_paths
from training.phantom.grid import Points
from training.phantom.patient import Patient

__all__ = ["KINDS", "medical_material"]

#: Kinds and how often each is drawn.
KINDS: dict[str, float] = {
    "pacemaker": 0.24,
    "port catheter": 0.2,
    "central venous catheter": 0.14,
    "sternal wires": 0.16,
    "aortic valve prosthesis": 0.08,
    "coronary stent": 0.06,
    "chest tube": 0.06,
    "nasogastric tube": 0.06,
}


def _line(scene: Scene, path: Points, radius: float, hu: float) -> float:
    seen = scene.view.shows(path, 1.0)
    if not seen.any():
        return 0.0
    amount = scene.body.canvas.tube_occupancy(path[seen], radius)
    return scene.put("Medical material", amount, hu)


def _plate(scene: Scene, centre: Points, half: tuple[float, float, float], hu: float) -> float:
    c = scene.body.canvas
    box = c.box(centre, max(half) + 2)
    if box is None or not scene.view.shows(centre[None], 1.0)[0]:
        return 0.0
    d = [(axis[box] - at).abs() - edge for axis, at, edge in zip((c.x, c.y, c.z), centre, half, strict=True)]
    sd = d[0].maximum(d[1]).maximum(d[2])
    return scene.put("Medical material", c.occupancy(sd), hu, box)


def _vein(scene: Scene, side: int, tip: tuple[float, float, float]) -> list[tuple[float, float, float]]:
    """Return the way from the subclavian vein of one side to ``tip``."""
    p = scene.body.patient
    return [
        (side * 80.0, 0.5 * p.half_depth, p.top_z - 6),
        (side * 46.0, 12.0, p.top_z - 2),
        (22.0, 8.0, p.carina_z + 36),
        (26.0, 6.0, p.carina_z),
        tip,
    ]


def _front(scene: Scene, x: float, z: float) -> float:
    """Depth of the skin in front at a place of the chest, mm."""
    ref = scene.reference
    c = ref.canvas
    near = ((c.x - x).abs() < 6) & ((c.z - z).abs() < 6) & (ref.chest.skin < 0)
    return float(c.y[near].max()) if bool(near.any()) else 0.8 * ref.patient.half_depth


@dataclass(frozen=True)
class _Placed:
    """What was painted: ml, the largest extent in mm, where in words, and whether it has a side."""

    ml: float
    size_mm: float
    where: str
    sided: bool = True


def _cava(p: Patient) -> tuple[float, float, float]:
    return (26.0, 6.0, p.carina_z - 30)


def _implant(scene: Scene, rng: np.random.Generator, side: int, *, pacemaker: bool) -> _Placed:
    p = scene.body.patient
    x, z = side * rng.uniform(0.5, 0.68) * p.half_width, p.top_z - rng.uniform(48, 66)
    pocket = np.array((x, _front(scene, x, z) - rng.uniform(9, 14), z))
    half = (23.0, 4.5, 21.0) if pacemaker else (11.0, 6.0, 11.0)
    ml = _plate(scene, pocket, half, 2800.0)
    way = [(float(pocket[0]), float(pocket[1]), float(pocket[2])), *_vein(scene, side, _cava(p))]
    if pacemaker:
        way.append((p.heart_x - 12.0, p.heart_y + 14, p.heart_z - 26))
    ml += _line(scene, curve(way, 2.0), 1.2, 2600.0 if pacemaker else 700.0)
    return _Placed(ml, 2 * half[0], "chest wall")


def _central_line(scene: Scene, side: int) -> _Placed:
    p = scene.body.patient
    way = [(side * 32.0, 10.0, p.top_z + 60), (side * 34.0, 12.0, p.top_z + 6), (22.0, 8.0, p.carina_z + 36), _cava(p)]
    return _Placed(_line(scene, curve(way, 2.0), 1.3, 650.0), 0.0, "superior vena cava")


def _wires(scene: Scene, rng: np.random.Generator) -> _Placed:
    p, ml = scene.body.patient, 0.0
    turn = np.linspace(0, 2 * np.pi, 24)
    for z in np.linspace(p.level_z(3.4), p.level_z(8.0), int(rng.integers(4, 7))):
        y = _front(scene, 0.0, float(z)) - 8 - 0.6 * p.fat_mm
        ring = np.stack([14 * np.cos(turn), y - 4 + 7 * np.sin(turn), z + 1.5 * np.sin(3 * turn)], 1)
        ml += _line(scene, ring, 0.9, 2700.0)
    return _Placed(ml, 28.0, "sternum", sided=False)


def _valve(scene: Scene) -> _Placed:
    path, radius = scene.body.mediastinum.paths["aorta"]
    turn = np.linspace(0, 2 * np.pi, 30)
    ring = path[1] + radius[1] * np.stack([np.cos(turn), 0.6 * np.sin(turn), 0.5 * np.sin(turn)], 1)
    return _Placed(_line(scene, ring, 2.0, 2400.0), 2 * float(radius[1]), "aortic valve", sided=False)


def _stent(scene: Scene, rng: np.random.Generator) -> _Placed:
    path = list(coronary_paths(scene.body.patient).values())[int(rng.integers(3))]
    start = int(rng.integers(2, 8))
    part = curve(path[start : start + int(rng.integers(4, 9))], 1.5)
    return _Placed(_line(scene, part, 1.8, 1500.0), 20.0, "coronary artery", sided=False)


def _drain(scene: Scene, side: int) -> _Placed:
    p = scene.body.patient
    way = [
        (side * (p.half_width + 40), 10, p.dome_right + 40),
        (side * (p.half_width - 6), -12, p.dome_right + 52),
        (side * 0.62 * p.half_width, p.spine_y - 4, p.carina_z - 20),
        (side * 0.4 * p.half_width, p.spine_y, p.top_z - 45),
    ]
    return _Placed(_line(scene, curve(way, 2.5), 3.2, 500.0), 0.0, f"{_SIDE[side]} pleural space")


def _feeding_tube(scene: Scene) -> _Placed:
    path, _ = scene.body.mediastinum.paths["esophagus"]
    return _Placed(_line(scene, path, 1.8, 450.0), 0.0, "esophagus", sided=False)


_SIDE = {1: "right", -1: "left"}


def medical_material(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Plant one device of :data:`KINDS`; metal at 1500-2800 HU, plastic at 450-700 HU."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    side = int(rng.choice([-1, 1]))
    makers: dict[str, Callable[[], _Placed]] = {
        "pacemaker": lambda: _implant(scene, rng, side, pacemaker=True),
        "port catheter": lambda: _implant(scene, rng, side, pacemaker=False),
        "central venous catheter": lambda: _central_line(scene, side),
        "sternal wires": lambda: _wires(scene, rng),
        "aortic valve prosthesis": lambda: _valve(scene),
        "coronary stent": lambda: _stent(scene, rng),
        "chest tube": lambda: _drain(scene, side),
        "nasogastric tube": lambda: _feeding_tube(scene),
    }
    placed = makers[kind]()
    reached = ((scene.truth.bits >> BIT["Medical material"]) & 1).bool()
    if placed.ml < 0.02 or not bool(reached.any()):
        return None
    c = scene.body.canvas
    middle = [float(axis[reached].double().mean()) for axis in (c.x, c.y, c.z)]
    words = _SIDE[side] if placed.sided else None
    return Finding(
        "Medical material", words, placed.where, placed.size_mm, placed.ml, 1, "moderate", kind, scene.world(middle)
    )
