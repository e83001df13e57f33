"""Colours and style sheet of the dock, made from napari's current theme."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Any

__all__ = ["Palette", "palette_of", "stylesheet"]

_RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Colours as ``#RRGGBB``.

    Attributes
    ----------
    background, surface, raised, line
        Page, card, pressed or hovered control, hairline: napari's own.
    text, muted
        Body text, and text that may stand back (at least 4.5:1 on ``surface``).
    accent, on_accent
        The one colour that invites a click, and text on it.
    ok, warn, refuse
        Verdicts, readable as text on ``surface``.
    font_pt
        napari's font size, points.
    """

    background: str
    surface: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    ok: str
    warn: str
    refuse: str
    font_pt: int

    def verdict(self, verdict: str) -> str:
        """Return the colour of ``ok``, ``warn`` or ``refuse``."""
        return {"ok": self.ok, "warn": self.warn, "refuse": self.refuse}.get(verdict, self.muted)


def _hex(rgb: _RGB) -> str:
    return "#{:02X}{:02X}{:02X}".format(*rgb)


def _mix(a: _RGB, b: _RGB, share: float) -> _RGB:
    """Return ``a`` with ``share`` of ``b``."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _rgb(colour: Any) -> _RGB:
    red, green, blue = colour.as_rgb_tuple()[:3]
    return int(red), int(green), int(blue)


def palette_of(theme_id: str) -> Palette:
    """Return the palette that goes with a napari theme; ``type`` of the theme decides on dark or light."""
    from napari.utils.theme import get_theme

    theme = get_theme(theme_id)
    background, text = _rgb(theme.background), _rgb(theme.text)
    dark = str(theme.type) != "light"
    white = (255, 255, 255)
    surface = _rgb(theme.foreground) if dark else _mix(background, white, 0.72)
    return Palette(
        background=_hex(background),
        surface=_hex(surface),
        raised=_hex(_rgb(theme.primary) if dark else _mix(background, white, 0.25)),
        line=_hex(_rgb(theme.primary)),
        text=_hex(text),
        muted=_hex(_mix(text, surface, 0.32 if dark else 0.30)),
        accent="#58B7DE" if dark else "#11658C",
        on_accent="#0B1C26" if dark else "#FFFFFF",
        ok="#67C79A" if dark else "#17703F",
        warn="#E9BE4A" if dark else "#7F5600",
        refuse="#FF8F84" if dark else "#A8201A",
        font_pt=int(theme.font_size[:-2]),
    )


#: Everything under the widget named ``colipri``; ``$name`` stands for a colour of the palette or a font size in points.
_SHEET = Template("""
#colipri, #colipri QWidget#page, #colipri QScrollArea, #colipri QScrollArea > QWidget > QWidget#page {
  background: $background; color: $text; font-size: ${base}pt;
}
#colipri QLabel { background: transparent; color: $text; padding: 0px; font-size: ${base}pt; }
#colipri QLabel[role="title"] { font-size: ${large}pt; font-weight: 600; }
#colipri QLabel[role="heading"] { font-weight: 600; }
#colipri QLabel[role="muted"] { color: $muted; }
#colipri QLabel[role="caption"] { color: $muted; font-size: ${small}pt; }
#colipri QLabel[role="ok"] { color: $ok; font-weight: 600; }
#colipri QLabel[role="warn"] { color: $warn; font-weight: 600; }
#colipri QLabel[role="refuse"] { color: $refuse; font-weight: 600; }
#colipri QLabel[role="banner"] {
  color: $warn; font-weight: 600; padding: 5px 8px; border-left: 3px solid $warn; background: $surface;
}
#colipri QLabel[badge] { margin: 0px 1px; }
#colipri QLabel[badge="ok"], #colipri QLabel[badge="warn"], #colipri QLabel[badge="refuse"] {
  padding: 2px 8px; border-radius: 8px; font-weight: 600; font-size: ${small}pt;
}
#colipri QLabel[badge="ok"] { color: $ok; border: 1px solid $ok; }
#colipri QLabel[badge="warn"] { color: $warn; border: 1px solid $warn; }
#colipri QLabel[badge="refuse"] { color: $refuse; border: 1px solid $refuse; }
#colipri QFrame[card="true"] { background: $surface; border: 1px solid $line; border-radius: 6px; }
#colipri QFrame[tone="refuse"] { border: 1px solid $refuse; }
#colipri QFrame[tone="busy"] { border: 1px solid $accent; }
#colipri QFrame[drop="true"] { border: 2px dashed $accent; border-radius: 6px; }
#colipri QPushButton {
  background: $surface; color: $text; border: 1px solid $line; border-radius: 4px;
  padding: 5px 10px; font-size: ${base}pt;
}
#colipri QPushButton:hover { background: $raised; border-color: $accent; }
#colipri QPushButton:focus { border-color: $accent; }
#colipri QPushButton:disabled { color: $muted; border-color: $line; background: $background; }
#colipri QPushButton[kind="primary"] {
  background: $accent; color: $on_accent; border: 1px solid $accent; font-weight: 600; padding: 7px 16px;
}
#colipri QPushButton[kind="primary"]:disabled { background: $raised; color: $muted; border-color: $raised; }
#colipri QPushButton[kind="segment"] { padding: 4px 2px; border-radius: 3px; }
#colipri QPushButton[kind="segment"]:checked {
  background: $raised; border-color: $accent; color: $text; font-weight: 600;
}
#colipri QProgressBar {
  background: $background; border: 1px solid $line; border-radius: 4px; min-height: 8px; max-height: 8px;
}
#colipri QProgressBar::chunk { background: $accent; border-radius: 3px; }
#colipri QTabWidget::pane { border: 0px; border-top: 1px solid $line; top: 0px; }
#colipri QTabBar { background: $background; }
#colipri QTabBar::tab {
  background: $background; color: $muted; padding: 7px 9px; margin: 0px; border: 0px;
  border-bottom: 2px solid $background; font-size: ${base}pt;
}
#colipri QTabBar::tab:selected { color: $text; border-bottom: 2px solid $accent; font-weight: 600; }
#colipri QTabBar::tab:hover { color: $text; }
#colipri QListView, #colipri QTableView {
  background: $surface; color: $text; border: 1px solid $line; border-radius: 6px; font-size: ${base}pt;
  outline: 0; gridline-color: $line; selection-background-color: $raised; selection-color: $text;
}
#colipri QTableView::item { padding: 2px 4px; border: 0px; }
#colipri QHeaderView { background: $surface; }
#colipri QHeaderView::section {
  background: $surface; color: $muted; border: 0px; border-bottom: 1px solid $line;
  padding: 4px; font-size: ${small}pt;
}
#colipri QPlainTextEdit, #colipri QLineEdit {
  background: $surface; color: $text; border: 1px solid $line; border-radius: 4px; padding: 5px;
  font-size: ${base}pt; selection-background-color: $accent; selection-color: $on_accent;
}
#colipri QPlainTextEdit:focus, #colipri QLineEdit:focus { border-color: $accent; }
#colipri QComboBox {
  background: $surface; color: $text; border: 1px solid $line; border-radius: 4px; padding: 4px 8px;
  font-size: ${base}pt;
}
#colipri QComboBox:hover, #colipri QComboBox:focus { border-color: $accent; }
#colipri QComboBox:disabled { color: $muted; background: $background; }
#colipri QComboBox QAbstractItemView {
  background: $surface; color: $text; border: 1px solid $line; selection-background-color: $raised;
  selection-color: $text; font-size: ${base}pt;
}
#colipri QScrollArea { border: 0px; }
""")


def stylesheet(palette: Palette) -> str:
    """Return the style sheet of everything under the widget named ``colipri``."""
    sizes = {"base": palette.font_pt, "small": max(7, palette.font_pt - 1), "large": palette.font_pt + 2}
    return _SHEET.substitute(vars(palette), **sizes)
