"""One CT volume: from a study on disk to Hounsfield units, geometry and a passport."""

from __future__ import annotations

from napari_colipri.ct.open import open_volume, read_passport
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.volume import CTVolume

__all__ = ["CTVolume", "Passport", "open_volume", "read_passport"]
