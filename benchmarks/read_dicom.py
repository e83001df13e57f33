"""``lungfcp-01-0001/dicom`` into a CT volume: at least as fast as SimpleITK's series reader, HU bit-equal.

Both sides list the folder, read the headers, sort and rescale; files are in the system's cache, imports are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks._common import alternate, data_folder, parser, publish


def _simpleitk(folder: Path) -> Any:
    """Read the folder's first series as SimpleITK's documentation does."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--folder", type=Path, help="another series")
    chosen = options.parse_args(arguments)
    import numpy as np
    import SimpleITK

    from napari_colipri.ct.open import open_volume
    from napari_colipri.ct.readers.dicom import read_dicom

    folder = chosen.folder or data_folder() / "lungfcp-01-0001" / "dicom"
    hu = read_dicom(folder).hu
    theirs = SimpleITK.GetArrayFromImage(_simpleitk(folder)).transpose(2, 1, 0)
    equal = hu.dtype == theirs.dtype and np.array_equal(hu, theirs)
    seconds = alternate(
        chosen.rounds,
        ours=lambda: read_dicom(folder),
        checked=lambda: open_volume(folder),
        simpleitk=lambda: _simpleitk(folder),
    )
    publish(
        "DICOM series into a CT volume",
        [
            {
                "voxels": "×".join(str(size) for size in hu.shape),
                "ours (s)": f"{seconds['ours']:.3f}",
                "ours with every check (s)": f"{seconds['checked']:.3f}",
                "SimpleITK (s)": f"{seconds['simpleitk']:.3f}",
                "ratio": f"{seconds['simpleitk'] / seconds['ours']:.1f}×",
                "HU bit-equal": "yes" if equal else "no",
                "target": "≥ 1×, bit-equal",
            }
        ],
        write=chosen.write,
    )


if __name__ == "__main__":
    main()
