"""Medical material: pacemakers, ports, catheters, wires, valves, stents, tubes."""

from __future__ import annotations

import numpy as np

from training.phantom.canvas import curve
from training.phantom.findings.base import Finding, Scene
from training.phantom.findings.vessels import coronary_paths
from training.phantom.grid import Points

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


def medical_material(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Plant one device; metal at 2500-3000 HU, plastic at 200-900 HU."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    p = scene.body.patient
    side = int(rng.choice([-1, 1]))
    cava = (26.0, 6.0, p.carina_z - 30)
    size, where, sided = 0.0, "", True
    ml = 0.0
    if kind in ("pacemaker", "port catheter"):
        x, z = side * rng.uniform(0.5, 0.68) * p.half_width, p.top_z - rng.uniform(48, 66)
        pocket = np.array((x, _front(scene, x, z) - rng.uniform(9, 14), z))
        tip = (p.heart_x - 12.0, p.heart_y + 14, p.heart_z - 26) if kind == "pacemaker" else cava
        half = (23.0, 4.5, 21.0) if kind == "pacemaker" else (11.0, 6.0, 11.0)
        ml += _plate(scene, pocket, half, 2800.0)
        way = [tuple(pocket), *_vein(scene, side, cava)]
        if kind == "pacemaker":
            way.append(tip)
        ml += _line(scene, curve(way, 2.0), 1.2, 2600.0 if kind == "pacemaker" else 700.0)
        size, where = 2 * half[0], "chest wall"
    elif kind == "central venous catheter":
        neck = (side * 32.0, 10.0, p.top_z + 60)
        ml += _line(
            scene, curve([neck, (side * 34.0, 12.0, p.top_z + 6), (22.0, 8.0, p.carina_z + 36), cava], 2.0), 1.3, 650.0
        )
        where = "superior vena cava"
    elif kind == "sternal wires":
        for z in np.linspace(p.level_z(3.4), p.level_z(8.0), int(rng.integers(4, 7))):
            y = _front(scene, 0.0, float(z)) - 8 - 0.6 * p.fat_mm
            turn = np.linspace(0, 2 * np.pi, 24)
            ring = np.stack([14 * np.cos(turn), y - 4 + 7 * np.sin(turn), z + 1.5 * np.sin(3 * turn)], 1)
            ml += _line(scene, ring, 0.9, 2700.0)
        where, sided, size = "sternum", False, 28.0
    elif kind == "aortic valve prosthesis":
        path, radius = scene.body.mediastinum.paths["aorta"]
        turn = np.linspace(0, 2 * np.pi, 30)
        ring = path[1] + radius[1] * np.stack([np.cos(turn), 0.6 * np.sin(turn), 0.5 * np.sin(turn)], 1)
        ml += _line(scene, ring, 2.0, 2400.0)
        where, sided, size = "aortic valve", False, 2 * float(radius[1])
    elif kind == "coronary stent":
        path = list(coronary_paths(p).values())[int(rng.integers(3))]
        start = int(rng.integers(2, 8))
        ml += _line(scene, curve(path[start : start + int(rng.integers(4, 9))], 1.5), 1.8, 1500.0)
        where, sided, size = "coronary artery", False, 20.0
    elif kind == "chest tube":
        way = [
            (side * (p.half_width + 40), 10, p.dome_right + 40),
            (side * (p.half_width - 6), -12, p.dome_right + 52),
            (side * 0.62 * p.half_width, p.spine_y - 4, p.carina_z - 20),
            (side * 0.4 * p.half_width, p.spine_y, p.top_z - 45),
        ]
        ml += _line(scene, curve(way, 2.5), 3.2, 500.0)
        where = f"{'right' if side > 0 else 'left'} pleural space"
    else:
        path, _ = scene.body.mediastinum.paths["esophagus"]
        ml += _line(scene, path, 1.8, 450.0)
        where, sided = "esophagus", False
    if ml < 0.02:
        return None
    words = ("right" if side > 0 else "left") if sided else None
    reached = (scene.truth.bits & 1) > 0
    c = scene.body.canvas
    at = c.frame.to_world(np.array([[float(axis[reached].double().mean()) for axis in (c.x, c.y, c.z)]]))[0]
    centre = (round(float(at[0]), 1), round(float(at[1]), 1), round(float(at[2]), 1))
    return Finding("Medical material", words, where, size, ml, 1, "moderate", kind, centre) if reached.any() else None
