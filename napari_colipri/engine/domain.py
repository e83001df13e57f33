"""Is a volume one of our phantoms? Only if it is, voxel by voxel, one that the package lists; anything else is real.

The list holds fingerprints of values and affine. A header field or a file name could be carried over to a patient's
scan by any tool that copies headers, and a phantom's calibration would then stand beside a patient's number; a
fingerprint cannot. The price is that a phantom which somebody made or changed counts as real and its numbers stay
uncalibrated.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Literal, TypeAlias

__all__ = ["PHANTOMS_FILE", "Domain", "domain_of"]

Domain: TypeAlias = Literal["phantom", "real"]
#: In the samples' folder: {"phantoms": [fingerprints]}.
PHANTOMS_FILE = "phantoms.json"


@functools.cache
def _listed() -> frozenset[str]:
    path = importlib.resources.files("napari_colipri").joinpath("sample_data", PHANTOMS_FILE)
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["phantoms"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()  # without the samples nothing is known to be a phantom


def domain_of(fingerprint: str) -> Domain:
    """Return ``"phantom"`` for the volumes that the package ships as phantoms, else ``"real"``.

    Parameters
    ----------
    fingerprint
        Of a volume, see :func:`napari_colipri.ct.volume.fingerprint_of`.
    """
    return "phantom" if fingerprint in _listed() else "real"
