"""Parity with the public package: model grids on three patients, pooled embedding and probabilities on random weights.

Always with a small random checkpoint, whole and in windows; ``--full`` adds the official sizes at 192³ (ten minutes and
5 GB on two cores).
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import _public_model as public
from benchmarks._common import OFFICIAL, data_folder, parser, public_image, public_processor, publish, quiet
from napari_colipri.ct.volume import CTVolume

VOLUMES = {
    "lungfcp-01-0001 (DICOM)": "lungfcp-01-0001/dicom",
    "crlm-1004": "crlm-1004/crlm-1004_-1004_STANDARD_1.nii.gz",
    "lungdx A0001 L": "lungdx/lungdx_A0001_L_0.nii.gz",
}
_WINDOW_HU = 1000.0


def grid_row(name: str, volume: CTVolume) -> dict[str, str]:
    """Compare the model grid of one volume, on a float32 copy and with the truncation of integer input."""
    from napari_colipri.engine.preprocess import to_model_grid

    processor = public_processor()
    grid = to_model_grid(volume, OFFICIAL)
    image = processor.process_images(public_image(volume))[0]
    difference = float(np.abs(image.data[0].numpy() - grid.values).max())
    moved = float(np.abs(image.affine - grid.affine).max())
    truncated = processor.process_images(public_image(volume, as_float=False))[0].data[0].numpy()
    ours = to_model_grid(volume, replace(OFFICIAL, integer_hu=True)).values
    hu = grid.values.astype(np.float64) * _WINDOW_HU
    whole = np.abs(hu - np.round(hu)) < 1e-3
    away = float(np.abs(ours - truncated)[~whole].max(initial=0.0))
    unequal = np.abs(ours - truncated) > 1e-6
    return {
        "volume": name,
        "dtype": str(volume.hu.dtype),
        "largest difference, float32 copy": f"{difference:.1e}",
        "affine (mm)": f"{moved:.1e}",
        "integer_hu: largest, away from integers": f"{away:.1e}",
        "integer_hu: unequal voxels, all near an integer": f"{int(unequal.sum())} of {unequal.size}",
        "target": "≤ 1e-5; 0",
    }


def _unit_mean(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float64).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def model_row(sizes: public.Sizes, label: str, volume: CTVolume, folder: Path) -> dict[str, str]:
    """Compare pooled embedding and probabilities: files, preprocessing, towers and prompts of both sides."""
    import torch

    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session

    model = public.public_model(sizes)
    public.write_bundle(folder, model, sizes)
    batch = public_processor(sizes.grid).process_images(public_image(volume))[0].data[None]
    with torch.inference_mode():
        pooled = model.encode_image(batch, project=True, pool=True, normalize=True, window_size=sizes.grid.window)
    theirs = pooled[0].numpy().astype(np.float64)
    bundle = open_bundle(folder)
    texts = {
        (item.name, side): public.public_texts(model, folder / "vocab.txt", list(getattr(item, side)))
        for item in bundle.config.findings
        for side in ("present", "absent")
    }
    temperature = float(model.softmax_temperature)
    del model, batch
    gc.collect()
    session = Session(bundle, device="cpu", precision="float32")
    encoding = session.encode(volume)
    cosine = float(theirs @ encoding.pooled / np.linalg.norm(theirs) / np.linalg.norm(encoding.pooled))
    worst, compared = 0.0, 0
    for finding in session.findings(encoding).items:
        if finding.probability is None:
            continue
        logits = [theirs @ _unit_mean(texts[finding.name, side]) / temperature for side in ("present", "absent")]
        expected = 1.0 / (1.0 + np.exp(logits[1] - logits[0]))
        worst, compared = max(worst, abs(finding.probability - float(expected))), compared + 1
    return {
        "weights": label,
        "pooled cosine": f"{cosine:.8f}",
        "probabilities, largest difference": f"{worst:.1e} over {compared} findings",
        "target": "≥ 0.9999; ≤ 1e-3",
    }


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--full", action="store_true", help="also the official sizes at 192³, random weights")
    options.add_argument("--only-full", action="store_true", help="nothing but that")
    chosen = options.parse_args(arguments)
    quiet()
    from napari_colipri.ct.open import open_volume

    volumes = {name: open_volume(data_folder() / path) for name, path in VOLUMES.items()}
    if not chosen.only_full:
        rows: list[Mapping[str, str]] = [grid_row(name, volume) for name, volume in volumes.items()]
        publish("Parity of the model grid, 192³ at 2 mm, in units of [-1, 1]", rows, write=chosen.write)
    small = {
        "small random, 72³ at 5 mm": public.SMALL,
        "small random, 144³ at 2.5 mm in windows of 72³": public.STITCHED,
    }
    jobs = {} if chosen.only_full else small
    if chosen.full or chosen.only_full:
        jobs["official sizes, random, 192³ at 2 mm"] = public.FULL
    for label, sizes in jobs.items():
        with tempfile.TemporaryDirectory() as folder:
            row = model_row(sizes, label, volumes["lungfcp-01-0001 (DICOM)"], Path(folder) / "bundle")
        publish("Parity of embedding and probabilities, lungfcp-01-0001 (DICOM)", [row], write=chosen.write)


if __name__ == "__main__":
    main()
