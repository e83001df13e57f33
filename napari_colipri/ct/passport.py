"""What may be done with a study, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["CODES", "Passport", "Reason", "Verdict", "passport_from_reasons", "reason"]

Verdict: TypeAlias = Literal["ok", "warn", "refuse"]
Affects: TypeAlias = Literal["display", "analyse", "both"]

_ORDER: dict[Verdict, int] = {"ok": 0, "warn": 1, "refuse": 2}

#: code -> (verdict for display, verdict for analysis). A code never changes its meaning.
CODES: dict[str, tuple[Verdict, Verdict]] = {
    "unreadable": ("refuse", "refuse"),
    "truncated": ("refuse", "refuse"),
    "empty": ("refuse", "refuse"),
    "not_an_image": ("refuse", "refuse"),
    "not_dicom": ("refuse", "refuse"),
    "unsupported_syntax": ("refuse", "refuse"),
    "archive_unsafe": ("refuse", "refuse"),
    "too_large": ("refuse", "refuse"),
    "not_ct": ("refuse", "refuse"),
    "not_a_volume": ("refuse", "refuse"),
    "single_slice": ("warn", "refuse"),
    "localizer": ("refuse", "refuse"),
    "colour": ("refuse", "refuse"),
    "four_d": ("warn", "refuse"),
    "not_hu": ("warn", "refuse"),
    "unknown_orientation": ("warn", "warn"),
    "singular_affine": ("refuse", "refuse"),
    "sheared": ("warn", "warn"),
    "gantry_tilt": ("warn", "warn"),
    "oblique": ("warn", "warn"),
    "variable_spacing": ("warn", "warn"),
    "missing_slices": ("warn", "warn"),
    "duplicate_slices": ("warn", "warn"),
    "mixed_orientation": ("warn", "warn"),
    "non_axial": ("ok", "warn"),
    "missing_tags": ("warn", "warn"),
    "lossy": ("warn", "warn"),
    "lossy_8bit": ("warn", "warn"),
    "nan_voxels": ("warn", "warn"),
    "burned_in_text": ("warn", "warn"),
    "wrong_body_part": ("ok", "warn"),
    "small_field_of_view": ("ok", "warn"),
    "outside_training_range": ("ok", "warn"),
    "other_series": ("warn", "ok"),
    "skipped_files": ("warn", "warn"),
    "position_mismatch": ("warn", "warn"),
    "form_mismatch": ("warn", "warn"),
}


def _worse(a: Verdict, b: Verdict) -> Verdict:
    return a if _ORDER[a] >= _ORDER[b] else b


@dataclass(frozen=True)
class Reason:
    """One oddity of a study.

    Attributes
    ----------
    code
        Key of :data:`CODES`.
    message
        One sentence in plain words, with numbers and units.
    value
        The measured value behind it (degrees, mm, count, name), JSON-serialisable.
    display, analyse
        What this oddity alone allows.
    """

    code: str
    message: str
    value: float | int | str | list[float] | None
    display: Verdict
    analyse: Verdict

    @property
    def affects(self) -> Affects:
        """Which of the two uses this reason touches."""
        if self.display == "ok":
            return "analyse"
        return "display" if self.analyse == "ok" else "both"

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {"code": self.code, "message": self.message, "value": self.value, "affects": self.affects}


def reason(
    code: str,
    message: str,
    value: float | int | str | list[float] | None = None,
    *,
    display: Verdict | None = None,
    analyse: Verdict | None = None,
) -> Reason:
    """Build a :class:`Reason` with the code's usual verdicts unless others are given.

    Raises
    ------
    KeyError
        If ``code`` is not in :data:`CODES`.
    """
    usual_display, usual_analyse = CODES[code]
    return Reason(code, message, value, display or usual_display, analyse or usual_analyse)


@dataclass(frozen=True)
class Passport:
    """May this study be shown and analysed, and what is odd about it.

    Attributes
    ----------
    reasons
        Every oddity found, in the order found.
    geometry
        JSON-serialisable facts: shape, spacing_mm, axis_codes, orientation_known, obliquity_deg, shear_deg, extent_mm.
    study
        JSON-serialisable facts without patient data: kind, dtype, sampled HU range, transfer syntaxes, fingerprint.
    """

    reasons: tuple[Reason, ...] = ()
    geometry: dict[str, Any] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)

    @property
    def display(self) -> Verdict:
        """May it be shown."""
        worst: Verdict = "ok"
        for item in self.reasons:
            worst = _worse(worst, item.display)
        return worst

    @property
    def analyse(self) -> Verdict:
        """May models run on it."""
        worst: Verdict = "ok"
        for item in self.reasons:
            worst = _worse(worst, item.analyse)
        return worst

    @property
    def verdict(self) -> Verdict:
        """The worse of :attr:`display` and :attr:`analyse`."""
        return _worse(self.display, self.analyse)

    def blocking(self, use: Literal["display", "analyse"]) -> Reason | None:
        """Return the first reason that forbids ``use``, or None."""
        for item in self.reasons:
            if getattr(item, use) == "refuse":
                return item
        return None

    def with_reasons(self, *more: Reason) -> Passport:
        """Return a copy with further reasons appended."""
        return Passport((*self.reasons, *more), self.geometry, self.study)

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "display": self.display,
            "analyse": self.analyse,
            "verdict": self.verdict,
            "reasons": [item.to_json() for item in self.reasons],
            "geometry": self.geometry,
            "study": self.study,
        }


def passport_from_reasons(*reasons: Reason) -> Passport:
    """Passport of an input of which nothing but its oddities is known."""
    return Passport(tuple(reasons))
