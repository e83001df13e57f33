"""The 18 findings of CT-RATE in their canonical order, and the sentences that ask a model about each of them.

The list and its order are CT-RATE's (arXiv 2403.17834). The pair "{x} is present." / "{x} is not present." is
CT-CLIP's; the other wordings are ours. A bundle's own prompts, where it has some, come before these.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CT_RATE_FINDINGS",
    "FINDING_NAMES",
    "ORGAN_GROUPS",
    "FindingTerm",
    "default_prompts",
    "finding_term",
    "prompts_for_text",
]

#: Order in which a report speaks of organs.
ORGAN_GROUPS = ("Lungs", "Airways", "Pleura", "Heart", "Vessels", "Mediastinum", "Devices")


@dataclass(frozen=True)
class FindingTerm:
    """One finding and how to speak of it.

    Attributes
    ----------
    name
        Canonical name, as CT-RATE writes it.
    organ
        One of :data:`ORGAN_GROUPS`.
    noun
        The finding inside a sentence, without an article.
    article
        ``"a"`` for something that can be counted, else empty.
    """

    name: str
    organ: str
    noun: str
    article: str = ""

    @property
    def phrase(self) -> str:
        """The finding inside a sentence, with its article if it takes one."""
        return f"{self.article} {self.noun}".strip()

    @property
    def present(self) -> tuple[str, ...]:
        """Sentences that say that it is there."""
        return (
            f"There is {self.phrase}.",
            f"{_capital(self.noun)} is present.",
            f"The scan shows {self.phrase}.",
        )

    @property
    def absent(self) -> tuple[str, ...]:
        """Sentences that say that it is not there, one for each of :attr:`present`."""
        return (
            f"There is no {self.noun}.",
            f"{_capital(self.noun)} is not present.",
            f"The scan shows no {self.noun}.",
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _term(name: str, organ: str, article: str = "") -> FindingTerm:
    return FindingTerm(name, organ, name[:1].lower() + name[1:], article)


#: Canonical order of CT-RATE.
CT_RATE_FINDINGS: tuple[FindingTerm, ...] = (
    _term("Medical material", "Devices"),
    _term("Arterial wall calcification", "Vessels"),
    _term("Cardiomegaly", "Heart"),
    _term("Pericardial effusion", "Heart", "a"),
    _term("Coronary artery wall calcification", "Heart"),
    _term("Hiatal hernia", "Mediastinum", "a"),
    _term("Lymphadenopathy", "Mediastinum"),
    _term("Emphysema", "Lungs"),
    _term("Atelectasis", "Lungs"),
    _term("Lung nodule", "Lungs", "a"),
    _term("Lung opacity", "Lungs", "a"),
    _term("Pulmonary fibrotic sequela", "Lungs"),
    _term("Pleural effusion", "Pleura", "a"),
    _term("Mosaic attenuation pattern", "Lungs", "a"),
    _term("Peribronchial thickening", "Airways"),
    _term("Consolidation", "Lungs"),
    _term("Bronchiectasis", "Airways"),
    _term("Interlobular septal thickening", "Lungs"),
)

FINDING_NAMES: tuple[str, ...] = tuple(term.name for term in CT_RATE_FINDINGS)

_BY_NAME = {term.name.lower(): term for term in CT_RATE_FINDINGS}


def finding_term(name: str) -> FindingTerm | None:
    """Return the term called ``name`` (any case), or None for a text of the user's own."""
    return _BY_NAME.get(name.strip().lower())


def default_prompts(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the present and the absent prompts of a canonical finding.

    Raises
    ------
    KeyError
        If ``name`` is none of the 18.
    """
    term = finding_term(name)
    if term is None:
        raise KeyError(name)
    return term.present, term.absent


def prompts_for_text(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return present and absent prompts for any words of the user's.

    A canonical name gets its ensemble. "There is x", "x is present" and "no x" are reduced to x first, so that asking
    for the presence and asking for the absence of x are the same question.

    Raises
    ------
    ValueError
        If ``text`` holds no word.
    """
    noun = _bare_noun(text)
    if not noun:
        raise ValueError("A prompt needs at least one word.")
    term = finding_term(noun) or FindingTerm(noun, "", noun)
    return term.present, term.absent


def _bare_noun(text: str) -> str:
    noun = " ".join(text.split()).rstrip(" .!?")
    lowered = noun.lower()
    for start in ("there is no ", "there are no ", "there is ", "there are ", "no "):
        if lowered.startswith(start):
            noun = noun[len(start) :]
            break
    lowered = noun.lower()
    for end in (" is not present", " are not present", " is present", " are present"):
        if lowered.endswith(end):
            noun = noun[: -len(end)]
            break
    for article in ("a ", "an ", "the "):
        if f"{noun} ".lower().startswith(article):
            noun = noun[len(article) :]
            break
    return noun.strip() if any(letter.isalnum() for letter in noun) else ""
