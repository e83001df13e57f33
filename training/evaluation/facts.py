"""What a study says, as a set of facts: finding, side, size. Two studies with the same facts are the same item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_colipri.text.side_and_size import size_spans

__all__ = ["Fact", "fact_key", "facts_from_json", "without_sizes"]

#: Words that lead to a size and say nothing without it.
_LEADING = re.compile(r"[\s(]*(?:\b(?:of|measuring|measures|about|approximately|up to|ca\.?)\s*)*$", re.I)


@dataclass(frozen=True, order=True)
class Fact:
    """One positive statement.

    Attributes
    ----------
    finding
        Canonical name.
    side
        ``"left"``, ``"right"``, ``"both"`` or ``""`` where there is none.
    size_mm
        Largest extent in mm, or None.
    """

    finding: str
    side: str = ""
    size_mm: float | None = None


def fact_key(facts: Iterable[Fact], *, sides: bool = True, sizes: bool = True) -> frozenset[tuple[str, str, int]]:
    """Return what identifies a study: its facts, sizes to the nearest mm.

    Parameters
    ----------
    facts
        Of one study.
    sides, sizes
        Whether they count; with neither, the set of findings is left.
    """
    return frozenset(
        (
            fact.finding,
            fact.side if sides else "",
            round(fact.size_mm) if sizes and fact.size_mm is not None else -1,
        )
        for fact in facts
    )


def facts_from_json(items: Iterable[Mapping[str, Any]]) -> tuple[Fact, ...]:
    """Read ``{"finding" or "name", "side", "size_mm"}`` objects, such as a phantom's truth.

    Raises
    ------
    ValueError
        Naming the object without a finding.
    """
    out = []
    for item in items:
        name = item.get("finding") or item.get("name")
        if not isinstance(name, str):
            raise ValueError(f"a fact without a finding: {dict(item)!r}")
        size = item.get("size_mm")
        out.append(Fact(name, str(item.get("side") or ""), None if size is None else float(size)))
    return tuple(sorted(out, key=lambda fact: (fact.finding, fact.side, fact.size_mm or 0.0)))


def without_sizes(text: str) -> str:
    """Return a report without its sizes and the words that lead to them."""
    out, at = "", 0
    for start, stop, _ in size_spans(text):
        out += _LEADING.sub("", text[at:start])
        at = stop + (text[stop : stop + 1] == ")")
    return out + text[at:]
