"""The study's passport in plain words."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_colipri.ct.passport import Passport
from napari_colipri.desktop.panels.parts import Card, Note, clear_layout, label

__all__ = ["StudyPanel", "facts"]

_VERDICTS = {
    "ok": "This study may be shown and analysed.",
    "warn": "This study may be used; mind what is odd about it.",
    "refuse": "This study may be used only in part, or not at all.",
}
_AFFECTS = {
    "display": "Affects what you see",
    "analyse": "Affects the analysis",
    "both": "Affects viewing and analysis",
}
_FORMATS = {"nifti": "NIfTI", "dicom": "DICOM", "nrrd": "NRRD", "mha": "MetaImage"}
_AXES = {"L": "left", "R": "right", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


class StudyPanel(QWidget):
    """Shows a :class:`Passport`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 8, 0, 8)
        self._layout.setSpacing(8)
        self.show_passport(None)

    def show_passport(self, passport: Passport | None, *, note: str = "") -> None:
        """Draw verdict, reasons and geometry; None where no study is open.

        Parameters
        ----------
        passport
            Of the study.
        note
            What was done to show it, such as resampling of an oblique scan.
        """
        clear_layout(self._layout)
        if passport is None:
            self._layout.addWidget(
                Note(
                    "No study",
                    "Its passport will stand here: may it be shown, may it be analysed, what is odd about it.",
                )
            )
        else:
            self._layout.addWidget(_verdict_card(passport, note))
            if passport.geometry or passport.study:
                self._layout.addWidget(_facts_card(passport))
        self._layout.addStretch(1)


def _verdict_card(passport: Passport, note: str) -> QWidget:
    card = Card()
    card.body.addWidget(label(_VERDICTS[passport.verdict], passport.verdict))
    for item in passport.reasons:
        worse = "refuse" if "refuse" in (item.display, item.analyse) else "warn"
        card.body.addWidget(label(item.message, "body"))
        card.body.addWidget(
            label(f"{_AFFECTS[item.affects]} · {item.code}", "caption" if worse == "warn" else "refuse")
        )
    if not passport.reasons:
        card.body.addWidget(label("Nothing odd was found.", "muted"))
    if note:
        card.body.addWidget(label(note, "muted"))
    return card


def _facts_card(passport: Passport) -> QWidget:
    card = Card()
    card.body.addWidget(label("Geometry", "heading"))
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setHorizontalSpacing(12)
    form.setVerticalSpacing(3)
    for name, value in facts(passport):
        form.addRow(label(name, "muted", wrap=False), label(value))
    card.body.addLayout(form)
    return card


def facts(passport: Passport) -> list[tuple[str, str]]:
    """Return the facts worth a line, as (name, words with units)."""
    geometry, study = passport.geometry, passport.study
    out: list[tuple[str, str]] = []
    if shape := geometry.get("shape"):
        out.append(("Voxels", " × ".join(str(value) for value in shape)))
    if spacing := geometry.get("spacing_mm"):
        out.append(("Spacing", " × ".join(f"{value:.3g}" for value in spacing) + " mm"))
    if extent := geometry.get("extent_mm"):
        out.append(("Extent", " × ".join(f"{value:.0f}" for value in extent) + " mm"))
    if geometry.get("orientation_known") is False:
        out.append(("Orientation", "not stored: left and right are unknown"))
    elif codes := geometry.get("axis_codes"):
        out.append(("Stored towards", ", ".join(_AXES.get(str(code), str(code)) for code in codes)))
    for key, name in (("obliquity_deg", "Oblique by"), ("shear_deg", "Sheared by"), ("tilt_deg", "Gantry tilt")):
        if (degrees := geometry.get(key)) is not None and abs(float(degrees)) >= 0.05:
            out.append((name, f"{float(degrees):.1f}°"))
    for key, name in (("kind", "Format"), ("kernel", "Kernel"), ("dtype", "Stored as")):
        if value := study.get(key):
            out.append((name, _FORMATS.get(str(value), str(value))))
    out.extend(_range(study.get("hu_range_sampled")))
    if fingerprint := study.get("fingerprint"):
        out.append(("Fingerprint", str(fingerprint)[:12]))
    return out


def _range(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return []
    low, high = (f"{float(number):.0f}".replace("-", "\N{MINUS SIGN}") for number in value)
    return [("HU (sampled)", f"{low} to {high}")]
