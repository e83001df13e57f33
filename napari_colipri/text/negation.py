"""The opposite of a sentence: what is there becomes absent, what is absent becomes present.

Used for the opposite-sentence loss and for prompts, so a negation in training and a prompt in use follow one rule. The
finding's own words stay; sizes, numbers and degrees go, because nothing of 12 mm can be absent. What the rules write
is read back by the extractor: where it does not say the opposite, a plain sentence with the finding's words is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from napari_colipri.text.asides import BE, DEGREE, SHOWS, VERB, is_aside, plainer, tidy
from napari_colipri.text.extract import Mention, sentence_mentions
from napari_colipri.text.findings import finding_term
from napari_colipri.text.scope import clauses, is_denied, lowered, without_parentheses

__all__ = ["negate", "sentence_prompts"]

_DEGREES = re.compile(rf"(?:{DEGREE}(?: to {DEGREE})?,?\s+)+", re.I)
# The noun phrase that a finding's words end: its article or degree, and the words between.
_PHRASE = re.compile(rf"\b(?:{DEGREE}\s+)+(?=(?:[\w-]+\s+){{0,4}}\Z)", re.I)
_HINTED = r"(?:suspicious|suggestive|compatible|consistent)\b"
_NEGATED = re.compile(rf"\bdoes not (?:represent|reflect|indicate|suggest)\b|\bnot (?:\w+ )?{_HINTED}", re.I)
_JOINT = re.compile(r",? and (?!(?:lower|middle|upper|left|right|posterior|lateral)\b)", re.I)
_THERE = re.compile(r"\b(there (?:is|are|was|were|has been|have been))\s+", re.I)
_SHOWN = re.compile(rf"\b{SHOWS}\s+", re.I)
_COPULA = re.compile(rf"\b{BE}\b", re.I)
_DEFINITE = re.compile(r"\s*(?:the|both|this|these|its|his|her|in|at|on|within|throughout)\b", re.I)
#: Nouns that take an article when they stand alone.
_COUNTED = re.compile(
    r"(?:nodule|effusion|hernia|opacity|catheter|pacemaker|stent|tube|node|lesion|prosthesis|device|pattern)\Z", re.I
)
# "There is x" and "x is present" are frames around a thing; with another verb a text is a statement.
_FRAMED = re.compile(r"^there (?:is|are) (?:no )?|\b(?:is|are) (?:not )?(?:present|absent)$", re.I)
_STATES = re.compile(rf"\w \b(?:{BE}|{SHOWS})\b \w", re.I)
_PAST = {"show": "showed", "demonstrate": "demonstrated", "reveal": "revealed", "contain": "contained", "have": "had"}
_THIRD = {"have": "has"}


def negate(sentence: str) -> str:
    """Return the opposite of ``sentence``.

    Parameters
    ----------
    sentence
        One sentence, or a phrase without a verb. Statements joined by "but", "however" or a semicolon are negated one
        by one; those that name none of the 18 findings are kept where others do.

    Returns
    -------
    str
        A sentence with the same final mark. Sizes are dropped from what becomes absent.

    Raises
    ------
    ValueError
        If there is no word.
    """
    text = " ".join(sentence.split())
    if not any(letter.isalnum() for letter in text):
        raise ValueError("A sentence to negate needs at least one word.")
    body = text.rstrip(" .!?")
    mark = text[len(body) :].replace("?", ".").strip() or ""
    parts = _parts(body)
    speaking = [bool(sentence_mentions(body[start:stop])) for start, stop in parts]
    out, last, gone = "", 0, False
    for (start, stop), speaks in zip(parts, speaking, strict=True):
        piece = body[start:stop]
        if speaks or not any(speaking):
            out += body[last:start] + _opposite(piece)
            gone = not _denies(piece)
        elif not (gone and is_aside(piece)):  # "; the largest lies in the right lower lobe"
            out += body[last:start] + piece
        last = stop
    return tidy(out + body[last:]) + (mark[:1] or "")


def sentence_prompts(text: str) -> tuple[str, str] | None:
    """Return a statement as a sentence, and its opposite: what is asked, and what the answer is weighed against.

    Parameters
    ----------
    text
        What the user typed.

    Returns
    -------
    tuple of str or None
        None for a phrase, and for "there is x" or "x is present", which ask for a thing and have forms of their own.
    """
    clean = " ".join(text.split()).rstrip(" .!?")
    bare = _FRAMED.sub("", clean)
    if not _STATES.search(bare):
        return None
    said = f"{clean[:1].upper()}{clean[1:]}."
    return said, negate(said)


def _parts(body: str) -> list[tuple[int, int]]:
    """Statements, cut at "and" too where both sides have a verb of their own."""
    found: list[tuple[int, int]] = []
    for start, stop in clauses(without_parentheses(lowered(body))):
        for joint in _JOINT.finditer(body, start, stop):
            if VERB.search(body, start, joint.start()) and VERB.search(body, joint.end(), stop):
                found.append((start, joint.start()))
                start = joint.end()
        found += _unmixed(body, start, stop)
    return found


def _unmixed(body: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a list at its commas where it names both what is there and what is not."""
    said = {mention.polarity == "absent" for mention in sentence_mentions(body[start:stop])}
    if len(said) < 2:
        return [(start, stop)]
    edges = [start, *(comma.start() for comma in re.finditer(r",(?=\s)", body[start:stop])), stop]
    edges[1:-1] = [start + edge for edge in edges[1:-1]]
    return list(pairwise(edges))


def _opposite(piece: str) -> str:
    lead = piece[: len(piece) - len(piece.lstrip(" ,"))]
    tail = piece[len(piece.rstrip(" ,")) :]
    core = piece.strip(" ,")
    mentions = sentence_mentions(core)
    denied = _denies(core)
    written = (_affirm if denied else _deny)(core, mentions)
    if not _says(written, mentions, absent=not denied):
        written = _plain(mentions, absent=not denied)
    capital = core[:1].isupper() and not lead.strip()
    return lead + (written[:1].upper() if capital else written[:1]) + written[1:] + tail


def _denies(core: str) -> bool:
    mentions = sentence_mentions(core)
    return all(m.polarity == "absent" for m in mentions) if mentions else is_denied(core.lower())


def _says(text: str, mentions: tuple[Mention, ...], *, absent: bool) -> bool:
    """Whether ``text`` names every finding of ``mentions`` and says what it should about each."""
    read = {mention.finding: mention.polarity == "absent" for mention in sentence_mentions(text)}
    return all(read.get(mention.finding) is absent for mention in mentions)


def _plain(mentions: tuple[Mention, ...], *, absent: bool) -> str:
    named = (finding_term(m.finding) if VERB.search(m.words) else None for m in mentions)
    words = (" or " if absent else " and ").join(
        dict.fromkeys(term.noun if term else m.words.lower() for term, m in zip(named, mentions, strict=True))
    )
    be = "are" if re.search(r"(?<!si)(?<!s)s\Z", words) else "is"
    return f"there {be} no {words}" if absent else f"there {be} {_with_article(words)}"


def _deny(core: str, mentions: tuple[Mention, ...]) -> str:
    text = plainer(core)
    if _NEGATED.search(text):
        return text
    there = _THERE.search(text)
    if there:
        return text[: there.end()] + "no " + _none(text[there.end() :])
    words = mentions[0].words.lower() if mentions else ""
    at = max(lowered(text).find(words), 0)
    stop = at + len(words)
    shows = _SHOWN.search(text, 0, stop)
    if shows:
        return text[: shows.end()] + "no " + _none(text[shows.end() :])
    inside = _COPULA.search(text, at, stop) or re.search(rf"\b{BE} (?=(?:\w+ly )?\Z)", text[:at], re.I)
    copula = inside or _COPULA.search(text, stop if mentions else 0)
    if copula and not (_DEGREES.match(text) and not inside):
        be = copula.group().split()
        return f"{text[: copula.start()]}{' '.join([be[0], 'not', *be[1:]])} {text[copula.end() :].lstrip()}"
    if _DEFINITE.match(text) and mentions:
        phrase = _PHRASE.search(text[:at])
        first = phrase.start() if phrase else at
        return f"{text[:first]}no {_none(text[first:])}"
    return "no " + _none(text)


def _none(rest: str) -> str:
    """Return what follows "no": without article, number and degree; "and" becomes "or" up to the verb."""
    rest = _DEGREES.sub("", rest, count=1) if _DEGREES.match(rest) else rest
    verb = _COPULA.search(rest)
    stop = verb.start() if verb else len(rest)
    head = re.sub(r",? and\b", " or", rest[:stop])
    head = re.sub(rf"\b(or|with) {_DEGREES.pattern}", r"\1 ", head, flags=re.I)
    if head[:2].isalpha() and not head[:2].isupper():
        head = head[:1].lower() + head[1:]
    return head + rest[stop:]


def _with_article(words: str) -> str:
    first = words.partition(" and ")[0]
    if not _COUNTED.search(first) or re.match(r"(?:an?|the|evidence|signs?)\b", words, re.I):
        return words
    return ("an " if first[:1].lower() in "aeiou" else "a ") + words


def _noun(match: re.Match[str]) -> str:
    """Return the words that "no" stood before, up to the verb, with an article where one noun stands alone."""
    rest = re.sub(r" or (?=\w)", " and ", match["rest"])
    cut = re.search(rf"\s(?:{BE}|in|of|on|at|with|within|seen|noted|identified)\b|[,;]|\Z", rest, re.I)
    head = rest[: cut.start()] if cut else rest
    return (match["lead"] or "") + _with_article(head) + rest[len(head) :]


def _does_not(match: re.Match[str]) -> str:
    verb = match["verb"].lower()
    if match["aux"].lower() == "does":
        return _THIRD.get(verb, verb + "s")
    return _PAST.get(verb, verb) if match["aux"].lower() == "did" else verb


def _free(match: re.Match[str]) -> str:
    return {"is": "has", "was": "had", "were": "had"}.get(match["be"].lower(), "have") + " "


_Change = str | Callable[[re.Match[str]], str]
_AFFIRMED: tuple[tuple[re.Pattern[str], _Change], ...] = tuple(
    (re.compile(pattern, re.I), change)
    for pattern, change in (
        (r"\b(?P<aux>does|do|did)(?: not|n't) (?P<verb>\w+)\b(?: any\b)?", _does_not),
        (r"\b(is|are|was|were|has|have|had|could|can|may) ?(?:not|n't) (?:any )?", r"\1 "),
        (r"\bno longer\s+", ""),
        (r"\bnot\s+", ""),
        (r"\bneither (.+?) nor ", r"\1 and "),
        (
            r"\b(?:has|have|had|is|are|was|were) (?:now |completely |fully )?(?:resolved|disappeared|cleared)",
            "is present",
        ),
        (r"\b(is|are|was|were) absent\b", r"\1 present"),
        (r"\b(is|are|was|were|has been|have been) (?:ruled out|excluded)\b", r"\1 found"),
        (r"\babsent\b(:?)", r"present\1"),
        (r"\babsence of\b", "presence of"),
        (r"\b(?P<be>is|are|was|were) (?:free|clear|devoid) (?:of|from)\s+(?:any )?", _free),
        (r"\b(?:free|clear|devoid) (?:of|from)\b", "with"),
        (r"\bnegative for\b", "positive for"),
        (r"\bwithout (?:any )?", "with "),
        (r"\b(?:lack of)\b", "presence of"),
        (r"(?P<lead>)\bno (?P<rest>.*)\Z", _noun),
    )
)


def _affirm(core: str, mentions: tuple[Mention, ...]) -> str:
    for pattern, change in _AFFIRMED:
        text, changes = pattern.subn(change, core, count=1)
        if changes:
            return tidy(text)
    return _plain(mentions, absent=False) if mentions else core
