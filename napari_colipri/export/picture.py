"""Pictures without a display: an analysis on one page, and a thumbnail for a library."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.ct.display import DisplayVolume, to_display
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Finding
from napari_colipri.export.result import AnalysisResult
from napari_colipri.report.draft import PRESENT_FROM

__all__ = ["analysis_png", "thumbnail_png"]

_RGB = npt.NDArray[np.uint8]
_Labels = npt.NDArray[np.integer[Any]]
#: Width and level of the window that shows lungs and mediastinum in one picture, HU.
_WINDOW, _LEVEL = 1500.0, -200.0
_PANEL = 420  # pixels along the longer side of a plane
_MARGIN = 24
_TEXT_WIDTH = 500
_BACK, _INK, _FAINT, _ACCENT = (18, 20, 24), (235, 236, 238), (150, 155, 163), (255, 176, 59)
# Okabe and Ito's colours, which people with colour-vision deficiencies can tell apart (jfly.uni-koeln.de/color).
_COLOURS = np.array(
    [
        [86, 180, 233],
        [230, 159, 0],
        [213, 94, 0],
        [204, 121, 167],
        [0, 114, 178],
        [240, 228, 66],
        [0, 158, 115],
        [153, 153, 153],
    ],
    np.float32,
)
_PLANES = (("Axial", 0, (1, 2)), ("Coronal", 1, (0, 2)), ("Sagittal", 2, (0, 1)))


def thumbnail_png(volume: CTVolume, size: int = 128) -> bytes:
    """Return the coronal slice through the middle as a PNG, its longer side ``size`` pixels.

    Parameters
    ----------
    volume
        To show; radiological convention (the patient's right is on the left).
    size
        Pixels.
    """
    display = to_display(volume)
    grey = _grey(np.asarray(display.data[:, display.data.shape[1] // 2, :]))
    picture = _resized(Image.fromarray(grey), (display.scale[0], display.scale[2]), size)
    return _png(picture)


def analysis_png(result: AnalysisResult) -> bytes:
    """Return one page: three planes with masks and the leading finding's place, beside findings and volumes.

    Parameters
    ----------
    result
        Of one volume.

    Returns
    -------
    bytes
        PNG, RGB.
    """
    display = to_display(result.volume)
    masks = result.segmentation
    labels = None if masks is None else display.source_labels_to_display(masks.labels)
    centre, marked = _centre(result, display, labels)
    panels = [_plane(display, labels, centre, axis, rest, marked=marked) for _, axis, rest in _PLANES]
    width = 2 * _PANEL + 4 * _MARGIN + _TEXT_WIDTH
    height = 2 * _PANEL + 4 * _MARGIN + 40
    page = Image.new("RGB", (width, height), _BACK)
    draw = ImageDraw.Draw(page)
    places = ((0, 0), (1, 0), (0, 1))
    for (name, axis, rest), panel, (column, row) in zip(_PLANES, panels, places, strict=True):
        x = _MARGIN + column * (_PANEL + _MARGIN)
        y = _MARGIN + row * (_PANEL + _MARGIN + 24)
        page.paste(panel, (x + (_PANEL - panel.width) // 2, y + (_PANEL - panel.height) // 2))
        draw.text((x, y + _PANEL + 4), f"{name} {centre[axis] + 1}/{display.data.shape[axis]}", _FAINT, _font(14))
        _letters(draw, display, (x, y), rest)
    _classes(draw, result, (2 * _MARGIN + _PANEL, 2 * _MARGIN + _PANEL + 24))
    _words(draw, result, 3 * _MARGIN + 2 * _PANEL)
    return _png(page)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _grey(hu: npt.NDArray[Any]) -> _RGB:
    scaled = (np.nan_to_num(hu.astype(np.float32), nan=-1024.0) - (_LEVEL - _WINDOW / 2)) / _WINDOW
    out: _RGB = (np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)
    return out


def _resized(picture: Image.Image, mm: tuple[float, float], longest: int, *, labels: bool = False) -> Image.Image:
    """Resize to square millimetres; ``mm`` is the size of a pixel along rows and columns."""
    height, width = picture.height * mm[0], picture.width * mm[1]
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR)


def _centre(
    result: AnalysisResult, display: DisplayVolume, labels: _Labels | None
) -> tuple[tuple[int, int, int], bool]:
    """Where the planes cross: the peak of the leading suggested finding, else the middle of masks or volume."""
    shape = np.array(display.data.shape)
    probability = {item.name: item.probability or 0.0 for item in result.findings.items}
    leading = max(result.heat_maps, key=lambda heat_map: probability.get(heat_map.text, 0.0), default=None)
    marked = leading is not None and probability.get(leading.text, 0.0) >= PRESENT_FROM
    if leading is not None and marked:
        world = np.asarray(display.ras_to_world(leading.peak_mm))
        index = (world - display.translate) / display.scale
    elif labels is not None and labels.any():
        index = np.argwhere(labels[::4, ::4, ::4]).mean(axis=0) * 4
    else:
        index = (shape - 1) / 2
    z, y, x = (int(n) for n in np.clip(np.rint(index), 0, shape - 1))
    return (z, y, x), marked


def _plane(
    display: DisplayVolume,
    labels: _Labels | None,
    centre: tuple[int, int, int],
    axis: int,
    rest: tuple[int, int],
    *,
    marked: bool,
) -> Image.Image:
    mm = (display.scale[rest[0]], display.scale[rest[1]])
    grey = _resized(Image.fromarray(_grey(np.take(display.data, centre[axis], axis))), mm, _PANEL)
    rgb = np.repeat(np.asarray(grey)[..., None], 3, axis=2).astype(np.float32)
    if labels is not None:
        flat = Image.fromarray(np.ascontiguousarray(np.take(labels, centre[axis], axis)))
        mask = np.asarray(_resized(flat, mm, _PANEL, labels=True))
        colour = _COLOURS[(mask.astype(int) - 1) % len(_COLOURS)]
        opacity = np.where(mask > 0, np.where(_edges(mask), 0.9, 0.25), 0.0)[..., None]
        rgb = rgb * (1 - opacity) + colour * opacity
    picture = Image.fromarray(rgb.astype(np.uint8))
    if marked:
        shape = display.data.shape
        y = (centre[rest[0]] + 0.5) / shape[rest[0]] * picture.height
        x = (centre[rest[1]] + 0.5) / shape[rest[1]] * picture.width
        ImageDraw.Draw(picture).ellipse((x - 16, y - 16, x + 16, y + 16), outline=_ACCENT, width=2)
    return picture


def _edges(mask: _Labels) -> npt.NDArray[np.bool_]:
    out = np.zeros(mask.shape, bool)
    out[1:] |= mask[1:] != mask[:-1]
    out[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return out


def _letters(draw: ImageDraw.ImageDraw, display: DisplayVolume, corner: tuple[int, int], rest: tuple[int, int]) -> None:
    if display.edge_letters is None:  # the file stores no orientation: no letters
        return
    x, y = corner
    (top, bottom), (left, right) = display.edge_letters[rest[0]], display.edge_letters[rest[1]]
    font, half = _font(16), _PANEL // 2
    draw.text((x + half, y), top, _ACCENT, font, anchor="ma", stroke_width=2, stroke_fill=_BACK)
    draw.text((x + half, y + _PANEL), bottom, _ACCENT, font, anchor="md", stroke_width=2, stroke_fill=_BACK)
    draw.text((x + 2, y + half), left, _ACCENT, font, anchor="lm", stroke_width=2, stroke_fill=_BACK)
    draw.text((x + _PANEL - 2, y + half), right, _ACCENT, font, anchor="rm", stroke_width=2, stroke_fill=_BACK)


def _classes(draw: ImageDraw.ImageDraw, result: AnalysisResult, corner: tuple[int, int]) -> None:
    x, y = corner
    draw.text((x, y), "Masks", _INK, _font(18))
    y += 32
    if result.segmentation is None:
        draw.text((x, y), result.no_segmentation or "No masks.", _FAINT, _font(14))
        return
    for item in result.segmentation.classes[:14]:
        colour = tuple(int(c) for c in _COLOURS[(item.label - 1) % len(_COLOURS)])
        draw.rectangle((x, y + 2, x + 12, y + 14), fill=colour)
        cut = " (touches the border)" if item.touches_border else ""
        size = f"{item.volume_ml:,.0f} ml" if item.volume_ml > 0 else "not found"
        draw.text((x + 20, y), f"{item.display_name}: {size}{cut}", _INK, _font(14))
        y += 24


def _words(draw: ImageDraw.ImageDraw, result: AnalysisResult, x: int) -> None:
    y = _MARGIN
    draw.text((x, y), "Findings", _INK, _font(24))
    items = result.findings.items
    how = "; probabilities are uncalibrated" if any(item.calibration is None for item in items) else ""
    draw.text((x, y + 36), f"Model {result.findings.bundle}{how}", _FAINT, _font(14))
    y += 64
    for note in result.findings.notes:
        draw.text((x, y), f"{note[:1].upper()}{note[1:]}", _ACCENT, _font(14))
        y += 22
    y += 10
    for item in items[:24]:
        _bar(draw, item, x, y)
        y += 26
    y += 14
    for line in _wrapped(" ".join(s.text for s in _impression(result)), 62)[:6]:
        draw.text((x, y), line, _INK, _font(14))
        y += 20
    draw.text((x, 2 * _PANEL + 3 * _MARGIN + 34), RESEARCH_USE_ONLY, _ACCENT, _font(16))


def _impression(result: AnalysisResult) -> tuple[Any, ...]:
    section = result.draft.section("Impression")
    return section.sentences if section is not None else ()


def _bar(draw: ImageDraw.ImageDraw, item: Finding, x: int, y: int) -> None:
    there = item.probability is not None and item.probability >= PRESENT_FROM
    draw.text((x, y), item.name[:38], _INK if there else _FAINT, _font(15))
    left, full = x + 290, 130
    if item.probability is None:
        draw.text((left, y), "not assessed", _FAINT, _font(14))
        return
    draw.rectangle((left, y + 5, left + full, y + 13), fill=(48, 52, 60))
    draw.rectangle((left, y + 5, left + round(full * item.probability), y + 13), fill=_ACCENT if there else _FAINT)
    draw.text((left + full + 10, y), f"{item.probability:.2f}", _INK if there else _FAINT, _font(15))


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
