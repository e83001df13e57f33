"""Layers from values: the study, its masks, a heat map and its peak.

Every layer of ours gets its place from :func:`frame`: one layer without units would take the millimetres off the whole
viewer. A model's output always becomes a new layer, and layers are remembered by identity, never looked up by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_colipri.desktop.metadata import KEY, DerivedMetadata, StudyMetadata
from napari_colipri.desktop.palette import class_colour
from napari_colipri.desktop.windows import WINDOWS

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Points

    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.ct.volume import CTVolume
    from napari_colipri.desktop.heat import HeatOnDisplay
    from napari_colipri.engine.types import HeatMap, Segmentation, SegmentationClass

__all__ = [
    "AXIS_LABELS",
    "HU_RANGE",
    "frame",
    "heat_layer",
    "mask_colours",
    "mask_layer",
    "peak_layer",
    "placeholder",
    "study_layer_data",
    "warm_up",
    "widen_contrast_range",
]

#: From where to where each display axis (I-P-L) runs; the first names the slider of the axial plane.
AXIS_LABELS = ("S\N{RIGHTWARDS ARROW}I", "A\N{RIGHTWARDS ARROW}P", "R\N{RIGHTWARDS ARROW}L")

#: Range of the contrast slider, HU.
HU_RANGE = (-1100.0, 3100.0)


def warm_up() -> None:
    """Build one small layer of each kind, for what they import: pandas alone would hold the window for 0.2 s later.

    Called in the thread that reads a study, while the user waits for it anyway.
    """
    import pandas as pd
    from napari.layers import Image, Labels, Points
    from napari.utils.colormaps import Colormap, DirectLabelColormap

    small = np.zeros((2, 2, 2), dtype=np.uint8)
    features = pd.DataFrame({"index": [0], "name": ["background"]})
    Labels(small, features=features, colormap=DirectLabelColormap(color_dict=mask_colours(())))
    Image(small.astype(np.float32), contrast_limits=(0, 1), colormap=Colormap(np.eye(4)))
    Points(np.zeros((1, 3)))


def placeholder(display: DisplayVolume) -> Labels:
    """Build a small, hidden labels layer inside the study."""
    from napari.layers import Labels

    return Labels(np.zeros((2, 2, 2), dtype=np.uint8), name="Masks", visible=False, **frame(display))


def frame(
    display: DisplayVolume,
    *,
    scale: npt.ArrayLike | None = None,
    translate: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Return where a layer lies: scale, translate, units and axis labels.

    Parameters
    ----------
    display
        The study that the layer belongs to.
    scale, translate
        Of the layer's own axis-aligned grid, mm, where it is not the display grid's.
    """
    return {
        "scale": tuple(float(value) for value in np.asarray(display.scale if scale is None else scale)),
        "translate": tuple(float(value) for value in np.asarray(display.translate if translate is None else translate)),
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXIS_LABELS,
    }


def study_layer_data(
    volume: CTVolume, display: DisplayVolume, name: str
) -> tuple[npt.NDArray[Any], dict[str, Any], str]:
    """Return napari's layer tuple of a study, shown through the lung window.

    Parameters
    ----------
    volume, display
        The study and its display copy [I, P, L], HU.
    name
        What the layer list shows.
    """
    metadata: StudyMetadata = {"kind": "study", "volume": volume, "display": display}
    attributes = {
        **frame(display),
        "name": name,
        "colormap": "gray",
        # Given, napari does not scan every voxel for them: six times faster.
        "contrast_limits": WINDOWS[0].limits,
        "interpolation2d": "linear",
        "metadata": {KEY: metadata},
    }
    return display.data, attributes, "image"


def widen_contrast_range(layer: Image) -> None:
    """Undo a side effect of giving ``contrast_limits``: the slider would end at them."""
    low, high = layer.contrast_limits_range
    layer.contrast_limits_range = (min(low, HU_RANGE[0]), max(high, HU_RANGE[1]))


def mask_colours(
    classes: tuple[SegmentationClass, ...], hidden: frozenset[int] = frozenset()
) -> dict[int | None, npt.NDArray[np.float32]]:
    """Return RGBA per label; background, unknown and hidden labels are transparent."""
    clear = np.zeros(4, dtype=np.float32)
    colours: dict[int | None, npt.NDArray[np.float32]] = {None: clear, 0: clear}
    for item in classes:
        colours[item.label] = clear if item.label in hidden else class_colour(item.label)
    return colours


def mask_layer(labels: npt.NDArray[np.uint8], segmentation: Segmentation, display: DisplayVolume, study: str) -> Labels:
    """Build the layer of a segmentation; it owns ``labels``, which a user may paint on.

    Parameters
    ----------
    labels
        uint8 [I, P, L] on the display grid, writeable, not shared.
    segmentation
        Whose masks they are.
    display
        The study they lie on.
    study
        Its fingerprint.
    """
    import pandas as pd
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    metadata: DerivedMetadata = {
        "kind": "mask",
        "fingerprint": study,
        "bundle": segmentation.bundle,
        "text": "Model output on the display grid.",
    }
    names = {0: "background"} | {item.label: item.display_name for item in segmentation.classes}
    return Labels(
        labels,
        name="Masks",
        opacity=0.45,
        colormap=DirectLabelColormap(color_dict=mask_colours(segmentation.classes)),
        features=pd.DataFrame({"index": list(names), "name": list(names.values())}),
        metadata={KEY: metadata},
        **frame(display),
    )


def heat_layer(heat: HeatMap, on_display: HeatOnDisplay, display: DisplayVolume, study: str) -> Image:
    """Build the layer that shows where a model responded to a text. Not a segmentation.

    NaN and everything at or below the lower limit is transparent.
    """
    from napari.layers import Image
    from napari.utils.colormaps import Colormap

    metadata: DerivedMetadata = {"kind": "heat_map", "fingerprint": study, "bundle": heat.bundle, "text": heat.text}
    ramp = np.array(
        [[0.80, 0.20, 0.05, 0.0], [0.84, 0.37, 0.0, 0.35], [0.94, 0.62, 0.0, 0.70], [1.0, 0.95, 0.55, 1.0]],
        dtype=np.float32,
    )
    return Image(
        on_display.values,
        name=f"Heat map: {heat.text}"[:60],
        colormap=Colormap(ramp, name="colipri heat", nan_color=(0, 0, 0, 0)),
        contrast_limits=on_display.limits,
        blending="translucent_no_depth",
        opacity=0.6,
        interpolation2d="linear",
        metadata={KEY: metadata},
        **frame(display, scale=on_display.scale, translate=on_display.translate),
    )


def peak_layer(heat: HeatMap, display: DisplayVolume, study: str) -> Points:
    """Build the layer of one point, the peak of a heat map."""
    from napari.layers import Points

    metadata: DerivedMetadata = {"kind": "peak", "fingerprint": study, "bundle": heat.bundle, "text": heat.text}
    # On the display grid's own voxel centre: between two slices a point would be drawn on neither.
    offset = np.asarray(display.ras_to_world(heat.peak_mm)) - np.asarray(display.translate)
    index = np.round(offset / np.asarray(display.scale))
    return Points(
        np.clip(index, 0, np.asarray(display.data.shape) - 1)[None],
        name=f"Peak: {heat.text}"[:60],
        symbol="cross",
        size=14 / float(np.mean(display.scale[1:])),
        face_color="transparent",
        border_color="#56B4E9",
        border_width=0.15,
        metadata={KEY: metadata},
        **frame(display),
    )
