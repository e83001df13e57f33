"""What is on napari's canvas: the study, its masks, heat maps, letters and the window. Main thread only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_colipri.desktop import layers
from napari_colipri.desktop.depth import DepthView
from napari_colipri.desktop.metadata import derived_metadata, study_metadata
from napari_colipri.desktop.overlays import CanvasText, EdgeLetters, edge_letters
from napari_colipri.desktop.panels.view import PLANES
from napari_colipri.desktop.readout import readout
from napari_colipri.desktop.windows import WINDOWS, apply_window, describe_limits, matching_window, window_named

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer, Points

    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.desktop.heat import HeatOnDisplay
    from napari_colipri.desktop.loading import LoadedStudy
    from napari_colipri.engine.types import HeatMap, Segmentation

__all__ = ["Heat", "Screen"]

#: Width of a mask's outline, mm.
_OUTLINE_MM = 2.0


@dataclass(eq=False)
class Heat:
    """A heat map that has been drawn, with its two layers."""

    value: HeatMap
    image: Image
    peak: Points


class Screen:
    """Owns our layers by identity and follows the viewer's events; :meth:`close` lets go of all of it.

    Parameters
    ----------
    viewer
        napari's viewer.
    on_view
        Called with nothing when plane or window changed.
    on_readout
        Called with the line about what lies under the cursor.
    on_study_removed
        Called when the user deleted the study's layer.
    """

    def __init__(
        self,
        viewer: Any,
        *,
        on_view: Callable[[], None],
        on_readout: Callable[[str], None],
        on_study_removed: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._on_view, self._on_readout, self._on_study_removed = on_view, on_readout, on_study_removed
        self._text = CanvasText(viewer)
        self._depth = DepthView(viewer)
        self.study: Image | None = None
        self.masks: Labels | None = None
        self._mask_names: dict[int, str] = {}
        self._segmentation: Segmentation | None = None
        self._heats: dict[str, Heat] = {}
        self._outline = False
        self._keys: list[Callable[[Any], None]] = []
        self._connections: list[tuple[Any, Callable[..., None]]] = []
        self._connect()

    @property
    def display(self) -> DisplayVolume | None:
        """The display copy of the study on screen."""
        metadata = None if self.study is None else study_metadata(self.study)
        return None if metadata is None else metadata["display"]

    @property
    def heats(self) -> dict[str, Heat]:
        """The heat maps that are in the layer list, by their text."""
        return dict(self._heats)

    def show_study(self, study: LoadedStudy) -> None:
        """Add a study as a new layer and look at it; what belonged to the one before is taken off."""
        data, attributes, _kind = layers.study_layer_data(study.volume, study.display, study.name)
        before = self._forget_study()
        layer = self._viewer.add_image(data, **attributes)
        for old in before:
            if old in self._viewer.layers:
                self._viewer.layers.remove(old)
        # napari builds the first labels layer's controls and shaders for 0.2 s: now, while the study appears, rather
        # than in the middle of an analysis.
        first = layers.placeholder(study.display)
        self._viewer.add_layer(first)
        self._viewer.layers.remove(first)
        self.adopt(layer)
        # The slice and the zoom of the study before would show an edge of this one, or nothing of it.
        display = study.display
        middle = np.asarray(display.translate) + np.asarray(display.scale) * (np.asarray(display.data.shape) // 2)
        self._viewer.dims.set_point(range(3), [float(value) for value in middle])
        self._viewer.reset_view()

    def adopt(self, layer: Image) -> None:
        """Take an image layer that already shows a study (opened by napari's own reader) as the study on screen."""
        if self.study is not None:
            self._forget_study()
        self.study = layer
        layers.widen_contrast_range(layer)
        # Air is black: a white canvas around it would dazzle, whatever the theme.
        self._viewer.canvas.background_color_override = "black"
        self._follow(layer.events.contrast_limits, self._view_changed)
        self._follow(layer.events.affine, self._view_changed)
        # Rotating or mirroring the layer changes which side is which.
        for name in ("scale", "rotate", "shear"):
            self._follow(getattr(layer.events, name), self._view_changed)
        self._viewer.layers.selection.active = layer
        self._view_changed()

    def show_masks(self, masks: Labels, segmentation: Segmentation) -> None:
        """Add the layer of new masks; an earlier one stays in the list, hidden, with whatever was painted on it."""
        if self.masks is not None:
            self.masks.visible = False
        self._segmentation = segmentation
        self._mask_names = {item.label: item.display_name for item in segmentation.classes}
        active = self._viewer.layers.selection.active
        self.masks = masks
        self._viewer.add_layer(masks)
        self._viewer.layers.selection.active = active

    def set_aside(self) -> None:
        """Take another model's heat maps off, and hide its masks under a name that tells whose they are."""
        for text in list(self._heats):
            self._drop_heat(text)
        masks, self.masks = self.masks, None
        if masks is not None:
            known = derived_metadata(masks)
            masks.name = f"Masks by {known['bundle']}" if known is not None else masks.name
            masks.visible = False
        self._segmentation, self._mask_names = None, {}

    def hide_classes(self, hidden: frozenset[int]) -> None:
        """Make these labels transparent."""
        from napari.utils.colormaps import DirectLabelColormap

        if self.masks is not None and self._segmentation is not None:
            colours = layers.mask_colours(self._segmentation.classes, hidden)
            self.masks.colormap = DirectLabelColormap(color_dict=colours)

    def outline_masks(self, outline: bool) -> None:
        """Draw masks by their edges, or filled."""
        self._outline = outline
        self._draw_outline()

    def show_heat(self, heat: HeatMap, on_display: HeatOnDisplay, study: str) -> None:
        """Show a heat map and its peak in new layers, hide the others, and go to the peak."""
        display = self.display
        if display is None:
            return
        active = self._viewer.layers.selection.active
        self._drop_heat(heat.text)
        drawn = Heat(heat, layers.heat_layer(heat, on_display, display, study), layers.peak_layer(heat, display, study))
        self._heats[heat.text] = drawn
        self._viewer.add_layer(drawn.image)
        self._viewer.add_layer(drawn.peak)
        self._viewer.layers.selection.active = active
        self.show_again(heat.text)

    def show_again(self, text: str) -> HeatMap | None:
        """Show the heat map of ``text`` once more; None where there is none (any more)."""
        drawn = self._heats.get(text)
        if drawn is None or drawn.image not in self._viewer.layers:
            return None
        for name, other in self._heats.items():
            other.image.visible = other.peak.visible = name == text
        self.go_to(drawn.value.peak_mm)
        return drawn.value

    def go_to(self, ras_mm: npt.ArrayLike) -> None:
        """Move the planes to a point, RAS mm."""
        display = self.display
        if display is not None:
            world = np.asarray(display.ras_to_world(ras_mm), dtype=np.float64)
            self._viewer.dims.set_point(range(3), [float(value) for value in world])

    def choose_plane(self, name: str) -> None:
        """Show a plane of :data:`~napari_colipri.desktop.panels.view.PLANES`."""
        order = PLANES[name]
        if order is None:
            if self.masks is not None:
                self.masks.contour = 0  # napari cannot draw contours in 3D and would warn
            self._viewer.dims.ndisplay = 3
            self._depth.face()
            return
        self._viewer.dims.ndisplay = 2
        self._viewer.dims.order = order
        self._viewer.reset_view()

    def choose_window(self, name: str) -> None:
        """Show the study through a CT window."""
        if self.study is not None:
            apply_window(self.study, window_named(name))

    def letters(self) -> EdgeLetters:
        """Return the letters that belong at the edges now."""
        display = self.display
        if self.study is None or display is None:
            return EdgeLetters()
        # Layer transforms compose, so only the whole of them is to be trusted.
        ahead = self.study.data_to_world(np.zeros(3))
        linear = np.stack([np.asarray(self.study.data_to_world(row)) - ahead for row in np.eye(3)], axis=1)
        return edge_letters(
            tuple(self._viewer.dims.order),
            tuple(str(value) for value in self._viewer.scene.camera.orientation),
            linear,
            display.scale,
            ndisplay=self._viewer.dims.ndisplay,
            orientation_known=display.edge_letters is not None,
        )

    def canvas_texts(self) -> dict[str, str]:
        """Return what is written on the canvas."""
        return self._text.texts()

    def close(self) -> None:
        """Undo every connection, key and overlay; drop every layer."""
        for event, callback in self._connections:
            event.disconnect(callback)
        self._connections.clear()
        for key in [key for key, action in self._viewer.keymap.items() if action in self._keys]:
            del self._viewer.keymap[key]
        self._keys.clear()
        self._text.close(self._viewer)
        self._viewer.canvas.background_color_override = None
        self.study = self.masks = self._segmentation = None
        self._heats.clear()

    # ------------------------------------------------------------------------------------------------ inside

    def _connect(self) -> None:
        viewer = self._viewer
        self._follow(viewer.dims.events.order, self._view_changed)
        self._follow(viewer.dims.events.ndisplay, self._depth_changed)
        self._follow(viewer.dims.events.ndisplay, self._draw_outline)
        self._follow(viewer.scene.camera.events.orientation, self._view_changed)
        self._follow(viewer.cursor.events.position, self._cursor_moved)
        self._follow(viewer.layers.events.removed, self._layer_removed)
        for window in WINDOWS:
            action = _window_action(self, window.name)
            viewer.bind_key(window.key, action, overwrite=True)
            self._keys.append(action)

    def _follow(self, event: Any, callback: Callable[..., None]) -> None:
        event.connect(callback)
        self._connections.append((event, callback))

    def _depth_changed(self, _event: Any = None) -> None:
        if self._viewer.dims.ndisplay == 3:
            self._depth.enter(self.study)
        else:
            self._depth.leave(self.study)
        self._view_changed()

    def _view_changed(self, _event: Any = None) -> None:
        self._text.show_letters(self.letters())
        if self._viewer.dims.ndisplay == 3:
            self._on_readout("")
        if self.study is None:
            self._text.show_window("")
            self._text.show_note("")
        else:
            low, high = self.study.contrast_limits
            window = matching_window((low, high))
            lines = [window.name] if window else []
            # One below the other: side by side they would run into the letter at the lower edge of a narrow canvas.
            self._text.show_window("\n".join([*lines, *describe_limits((low, high)).split(" · ")]))
            display = self.display
            known = display is None or display.edge_letters is not None
            self._text.show_note("" if known else "Orientation not stored: left and right unknown")
        self._on_view()

    def _draw_outline(self, _event: Any = None) -> None:
        if self.masks is not None:
            width = max(1, round(_OUTLINE_MM / float(np.min(self.masks.scale))))
            self.masks.contour = width if self._outline and self._viewer.dims.ndisplay == 2 else 0

    def _cursor_moved(self, _event: Any = None) -> None:
        display = self.display
        position = self._viewer.cursor.position
        if display is None or self._viewer.dims.ndisplay == 3 or len(position) != 3:
            self._on_readout("")
            return
        shown = self.masks if self.masks is not None and self.masks.visible else None
        labels = None if shown is None else np.asarray(shown.data)
        self._on_readout(readout(display, position, labels, self._mask_names))

    def _layer_removed(self, event: Any) -> None:
        layer = event.value
        if layer is self.study:
            self._forget_study()
            self._view_changed()
            self._on_study_removed()
        elif layer is self.masks:
            self.masks = None
        for text, drawn in list(self._heats.items()):
            if layer is drawn.image or layer is drawn.peak:
                other = drawn.peak if layer is drawn.image else drawn.image
                del self._heats[text]
                if other in self._viewer.layers:
                    self._viewer.layers.remove(other)

    def _drop_heat(self, text: str) -> None:
        drawn = self._heats.pop(text, None)
        if drawn is not None:
            for layer in (drawn.image, drawn.peak):
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    def _forget_study(self) -> list[Layer]:
        """Let go of the study and everything that lies on it, and return those layers."""
        mine: list[Layer | None] = [self.study, self.masks]
        mine += [layer for drawn in self._heats.values() for layer in (drawn.image, drawn.peak)]
        if self.study is not None:
            events = self.study.events
            its = (events.contrast_limits, events.affine, events.scale, events.rotate, events.shear)
            gone = [pair for pair in self._connections if any(pair[0] is event for event in its)]
            for event, callback in gone:
                event.disconnect(callback)
                self._connections.remove((event, callback))
        self.study = self.masks = self._segmentation = None
        self._mask_names = {}
        self._heats.clear()
        return [layer for layer in mine if layer is not None]


def _window_action(screen: Screen, name: str) -> Callable[[Any], None]:
    def act(_viewer: Any) -> None:
        screen.choose_window(name)

    act.__name__ = f"colipri_{name.lower()}_window"
    act.__doc__ = f"{name} window"
    return act
