"""Make the benchmark volume: lidc-0314 interpolated to 0.78 x 0.78 x 1 mm, 512 x 512 x 300, plus seeded noise.

The source has 274 mm along the body; the outermost slices are repeated to 300 mm. Noise of 15 HU gives the file the
size and the entropy of a native series.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks._common import data_folder, parser, work_folder

__all__ = ["benchmark_volume"]

SHAPE = (512, 512, 300)
SPACING_MM = (0.78, 0.78, 1.0)
NOISE_HU = 15.0
SEED = 20251124


def benchmark_volume(folder: Path | None = None) -> Path:
    """Return the benchmark volume, made on first use.

    Parameters
    ----------
    folder
        Where it is kept; the user's cache without it.
    """
    path = (folder or work_folder()) / "benchmark-512x512x300.nii.gz"
    if not path.exists():
        _make(path)
    return path


def _make(path: Path) -> None:
    import nibabel
    from scipy import ndimage

    from napari_colipri.atomic import replace_file
    from napari_colipri.ct.open import open_volume

    source = open_volume(data_folder() / "lidc-0314" / "lidc-0314.nii.gz")
    scale = np.asarray(SPACING_MM) / np.asarray(source.geometry.spacing_mm)
    first = (np.asarray(source.hu.shape) - 1) / 2 - scale * (np.asarray(SHAPE) - 1) / 2
    hu = np.empty(SHAPE, np.int16, order="F")
    rng = np.random.default_rng(SEED)
    values = source.hu.astype(np.float32)
    for k in range(SHAPE[2]):
        offset = first + scale * (0, 0, k)
        plane = ndimage.affine_transform(values, np.diag(scale), offset, (*SHAPE[:2], 1), order=1, mode="nearest")
        noisy = plane[..., 0] + rng.normal(0.0, NOISE_HU, SHAPE[:2])
        hu[..., k] = np.clip(np.rint(noisy), -1024, 3071)
    affine = source.affine.copy()
    affine[:3, :3] = source.affine[:3, :3] * scale
    affine[:3, 3] = source.affine[:3, :3] @ first + source.affine[:3, 3]
    image = nibabel.Nifti1Image(hu, affine)
    image.header.set_xyzt_units("mm")
    with replace_file(path) as part:
        part.write_bytes(_gzipped(image.to_bytes()))


def _gzipped(raw: bytes) -> bytes:
    from isal import igzip

    packed: bytes = igzip.compress(raw, compresslevel=2)
    return packed


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("folder", type=Path, nargs="?", help="where it goes; the user's cache without it")
    print(benchmark_volume(options.parse_args(arguments).folder))


if __name__ == "__main__":
    main()
