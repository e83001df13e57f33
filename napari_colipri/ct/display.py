"""The display grid: axes towards I, P, L with positive scale, and the way back to the source's voxels.

With these axes napari shows axial, coronal and sagittal planes as radiologists read them, without flips, and a 3D view
is not mirrored. Its world coordinates are then (-S, -A, -R) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import apply, index_to_ras, invert, ras_to_index, reorientation
from napari_colipri.ct.resample import orthogonal_volume, patient_grid, sample_hu, sample_labels
from napari_colipri.ct.volume import Affine, CTVolume, HUArray
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["DISPLAY_CODES", "DisplayVolume", "to_display"]

DISPLAY_CODES = "IPL"

_Points = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.integer[Any]]
_Index = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]


def _view(array: npt.NDArray[Any], axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> npt.NDArray[Any]:
    return array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


@dataclass(frozen=True, eq=False)
class DisplayVolume:
    """A volume as it is drawn.

    Attributes
    ----------
    data
        HU [I, P, L], each index growing towards that side. A strided view of the source where the source is aligned
        with the patient's axes, else resampled; of the source's dtype.
    scale, translate
        For the napari layer: mm per index and world mm of voxel (0, 0, 0).
    affine
        Display index to RAS mm, 4 x 4.
    resampled
        Whether ``data`` was interpolated.
    degrees
        Largest angle by which the source departs from straight axes (rotation or shear); 0 for a view.
    edge_letters
        Letters at the low and high end of each display axis, or None where the file stores no orientation.
    note
        One sentence for the user about what was done to show it, or "".
    source
        The volume itself.
    """

    data: HUArray
    scale: tuple[float, float, float]
    translate: tuple[float, float, float]
    affine: Affine
    resampled: bool
    degrees: float
    edge_letters: tuple[tuple[str, str], tuple[str, str], tuple[str, str]] | None
    note: str
    source: CTVolume

    def world_to_ras(self, world: npt.ArrayLike) -> _Points:
        """Turn napari world mm [..., 3] into RAS mm."""
        return -np.asarray(world, dtype=np.float64)[..., ::-1]

    def ras_to_world(self, ras: npt.ArrayLike) -> _Points:
        """Turn RAS mm [..., 3] into napari world mm."""
        return -np.asarray(ras, dtype=np.float64)[..., ::-1]

    def source_index(self, world: npt.ArrayLike) -> tuple[int, int, int] | None:
        """Return the source voxel [i, j, k] that holds a world point, or None outside the volume."""
        index = np.floor(ras_to_index(self.source, self.world_to_ras(world)) + 0.5)
        if (index < 0).any() or (index >= np.asarray(self.source.geometry.shape)).any():
            return None
        return int(index[0]), int(index[1]), int(index[2])

    def source_labels_to_display(self, labels: _Labels, *, cancel: CancelToken | None = None) -> _Labels:
        """Show labels of the source grid.

        Parameters
        ----------
        labels
            Integers [i, j, k] on the source grid.

        Returns
        -------
        ndarray
            [I, P, L]; a strided view of ``labels`` (writing to it writes to them) unless ``resampled``, then the
            nearest source voxel's label, 0 outside.

        Raises
        ------
        ValueError
            If the shape is not the source's.
        Cancelled
            While resampling.
        """
        if labels.shape != self.source.geometry.shape:
            raise ValueError(f"labels have shape {labels.shape}, the source {self.source.geometry.shape}")
        if not self.resampled:
            return _view(labels, *reorientation(self.source.affine, DISPLAY_CODES))
        shape = self.data.shape
        return sample_labels(labels, self.source, (shape[0], shape[1], shape[2]), self.affine, cancel=cancel)

    def display_edit_to_source(self, index: npt.ArrayLike) -> _Index:
        """Find the source voxels whose centre falls into edited display voxels.

        Parameters
        ----------
        index
            Display voxels [N, 3]; those outside the grid are ignored.

        Returns
        -------
        tuple of ndarray
            Source indices i, j, k, each voxel once: ``labels[result] = value`` changes these and no others.
        """
        edit = np.asarray(index, dtype=np.int64).reshape(-1, 3)
        edit = edit[((edit >= 0) & (edit < np.asarray(self.data.shape))).all(axis=1)]
        if edit.shape[0] == 0:
            nothing = np.zeros(0, dtype=np.intp)
            return nothing, nothing, nothing
        found = self._resampled_edit(edit) if self.resampled else self._view_edit(edit)
        return found[:, 0], found[:, 1], found[:, 2]

    def _view_edit(self, edit: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        axes, flips = reorientation(self.source.affine, DISPLAY_CODES)
        found = np.empty_like(edit)
        for display_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            values = edit[:, display_axis]
            found[:, axis] = self.data.shape[display_axis] - 1 - values if flip else values
        shape = self.source.geometry.shape
        flat = np.unique(np.ravel_multi_index(tuple(found.T), shape))
        return np.stack(np.unravel_index(flat, shape), axis=1)

    def _resampled_edit(self, edit: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        low, high = edit.min(axis=0), edit.max(axis=0)
        chosen = np.zeros(tuple(high - low + 1), dtype=bool)
        chosen[tuple((edit - low).T)] = True
        ends = np.stack([low - 0.5, high + 0.5])
        box: _Points = np.array(np.meshgrid(*ends.T, indexing="ij"), dtype=np.float64).reshape(3, -1).T
        nearby = ras_to_index(self.source, apply(self.affine, box))
        first = np.clip(np.floor(nearby.min(axis=0)), 0, None).astype(int)
        stop = np.minimum(np.ceil(nearby.max(axis=0)) + 1, self.source.geometry.shape).astype(int)
        back = invert(self.affine)
        found = []
        # one source slice at a time: an edit of a whole volume stays small in memory
        for k in range(first[2], stop[2]):
            i, j = (grid.ravel() for grid in np.mgrid[first[0] : stop[0], first[1] : stop[1]])
            candidates = np.stack([i, j, np.full_like(i, k)], axis=1)
            cell = np.floor(apply(back, index_to_ras(self.source, candidates)) + 0.5).astype(np.int64) - low
            inside = ((cell >= 0) & (cell < chosen.shape)).all(axis=1)
            cell, candidates = cell[inside], candidates[inside]
            found.append(candidates[chosen[tuple(cell.T)]])
        return np.concatenate(found).astype(np.intp) if found else np.zeros((0, 3), dtype=np.intp)


def _letters(volume: CTVolume) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]] | None:
    return (("S", "I"), ("A", "P"), ("R", "L")) if volume.geometry.orientation_known else None


def _view_affine(volume: CTVolume) -> Affine:
    """Return the affine of the strided view: straight axes of the source's spacing around the source's centre."""
    axes, flips = reorientation(volume.affine, DISPLAY_CODES)
    affine = np.eye(4)
    affine[:3, 3] = volume.affine[:3, 3]
    for display_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        column = volume.affine[:3, axis]
        affine[:3, display_axis] = -column if flip else column
        if flip:
            affine[:3, 3] += column * (volume.hu.shape[axis] - 1)
    straight = np.zeros((3, 3))
    straight[[2, 1, 0], [0, 1, 2]] = -np.linalg.norm(affine[:3, :3], axis=0)
    # at most 0.05 degrees are dropped here; about the centre that is 0.2 mm at the edge of a chest
    centre = (np.asarray(volume.hu.shape)[list(axes)] - 1) / 2
    affine[:3, 3] += (affine[:3, :3] - straight) @ centre
    affine[:3, :3] = straight
    return affine


def _note(volume: CTVolume, shown: tuple[float, float, float]) -> str:
    geometry = volume.geometry
    causes = []
    if geometry.obliquity_deg >= 0.05:
        causes.append(f"rotated by {geometry.obliquity_deg:.1f} degrees")
    if geometry.shear_deg >= 0.05:
        causes.append(f"sheared by {geometry.shear_deg:.1f} degrees")
    if geometry.slice_positions_mm is not None:
        causes.append("unevenly spaced")
    grid = " × ".join(f"{value:.2f}" for value in shown)
    return (
        f"The scan is {' and '.join(causes)}: shown resampled to {grid} mm. Masks and measurements keep its own voxels."
    )


def _placed(volume: CTVolume, data: HUArray, affine: Affine, *, resampled: bool) -> DisplayVolume:
    scale = np.linalg.norm(affine[:3, :3], axis=0)
    translate = -affine[:3, 3][::-1] + 0.0
    spacing = (float(scale[0]), float(scale[1]), float(scale[2]))
    degrees = max(volume.geometry.obliquity_deg, volume.geometry.shear_deg) if resampled else 0.0
    return DisplayVolume(
        data=data,
        scale=spacing,
        translate=(float(translate[0]), float(translate[1]), float(translate[2])),
        affine=affine,
        resampled=resampled,
        degrees=degrees,
        edge_letters=_letters(volume),
        note=_note(volume, spacing) if resampled else "",
        source=volume,
    )


def to_display(
    volume: CTVolume, *, progress: Progress = report_nothing, cancel: CancelToken | None = None
) -> DisplayVolume:
    """Put a volume on the display grid.

    Parameters
    ----------
    volume
        Any geometry. Aligned with the patient's axes (48 orientations, within 0.05 degrees) it is viewed without a
        copy; rotated, sheared or unevenly spaced it is resampled to a grid at least as fine.

    Raises
    ------
    Cancelled
        While resampling; nothing is kept.
    """
    if volume.geometry.axis_aligned:
        data = _view(volume.hu, *reorientation(volume.affine, DISPLAY_CODES))
        return _placed(volume, data, _view_affine(volume), resampled=False)
    if volume.geometry.shear_deg < 0.05 and volume.geometry.obliquity_deg < 0.05:
        straight = orthogonal_volume(volume, progress=progress, cancel=cancel)
        data = _view(straight.hu, *reorientation(straight.affine, DISPLAY_CODES))
        return _placed(volume, data, _view_affine(straight), resampled=True)
    shape, grid = patient_grid(volume, DISPLAY_CODES)
    data = sample_hu(volume, shape, grid, progress=progress, cancel=cancel)
    data.setflags(write=False)
    return _placed(volume, data, grid, resampled=True)
