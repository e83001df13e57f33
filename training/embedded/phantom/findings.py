"""Plants the wanted findings into a phantom, in the order in which anatomy allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.embedded.phantom import lungs, mediastinum
from training.embedded.phantom.anatomy import Body
from training.embedded.phantom.truth import BIT, PLANTED, PhantomFinding, Truth

__all__ = ["PLANTED", "PhantomFinding", "plant"]

Planter = Callable[[Body, Truth, np.random.Generator], PhantomFinding | None]

#: In the order in which they must be painted: what moves the lungs' border first.
_ORDER: tuple[tuple[str, Planter], ...] = (
    ("Cardiomegaly", mediastinum.cardiomegaly),
    ("Pericardial effusion", mediastinum.pericardial_effusion),
    ("Hiatal hernia", mediastinum.hiatal_hernia),
    ("Lymphadenopathy", mediastinum.lymphadenopathy),
    ("Emphysema", lungs.emphysema),
    ("Lung opacity", lungs.opacity),
    ("Consolidation", lungs.consolidation),
    ("Atelectasis", lungs.atelectasis),
    ("Pleural effusion", lungs.pleural_effusion),
    ("Lung nodule", lungs.nodules),
    ("Arterial wall calcification", mediastinum.aortic_calcification),
    ("Coronary artery wall calcification", mediastinum.coronary_calcification),
    ("Medical material", mediastinum.medical_material),
)


def plant(body: Body, wanted: frozenset[str], rng: np.random.Generator) -> tuple[Truth, tuple[PhantomFinding, ...]]:
    """Paint the wanted findings into ``body``.

    Returns
    -------
    truth : uint16 [X, Y, Z]
        Bit ``n`` is set where ``PLANTED[n]`` is.
    findings
        Those that found room, in canonical order.
    """
    truth = np.zeros(body.labels.shape, np.uint16)
    found = []
    for name, planter in _ORDER:
        if name in wanted:
            item = planter(body, truth, rng)
            if item is not None:
                found.append(item)
    return truth, tuple(sorted(found, key=lambda item: BIT[item.name]))
