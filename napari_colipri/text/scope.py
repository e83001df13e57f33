"""Whether a sentence says that something is there, is not there, or may be there.

A sentence is cut into clauses; inside a clause the verb or the negation that governs a word decides. The idea of cue
and scope is that of NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009); the cues here also cover the passive
sentences of translated reports, in which the negation stands far behind the finding.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

__all__ = ["Polarity", "clauses", "is_denied", "last_match", "lowered", "polarity", "without_parentheses"]

Polarity: TypeAlias = Literal["present", "absent", "uncertain"]

_BE = r"(?:is|are|was|were|be|been|being)"
_SEEN = (
    r"(?:observ|detect|not|see|identif|visuali[sz]|demonstrat|distinguish|encounter|find|found|monitor|select|notic|"
    r"evident|select|present|visible|available|appreciat|delineat|watch|follow|record|reveal|shown?|determin|diagnos|"
    r"apparent|suggest|calcif|enlarg|thicken|dilat|consolidat|recogni[sz]|remark|report|exist|considered|striking|suspected)\w*"
)
_ADVERB = r"(?:also|again|clearly|still|newly|significantly|definitely|clear|any|longer|currently|been|be|to)"

_BOUNDARY = re.compile(
    r"[;•\"“”]|\.(?=\s)|(?<!\babsent)(?<!\bpresent)(?<!\bnegative)(?<!\bpositive)"
    r":(?=\s)(?!\s*(?:none|no|nil|absent|negative|yes|present|positive|not \w+)\s*(?:[.,;]|$))|\b(?:but|however|"
    r"although|though|whereas|while|except(?:ing)?(?: for)?|apart from|aside from|"
    r"other than|nevertheless|nonetheless|yet)\b|,\s+(?=there (?:is|are|was|were)\b)|\band (?=there (?:is|are)\b)"
)
_PARENTHESES = re.compile(r"\([^()]*\)")

# Negations before the word, and what only looks like one: no change in a finding does not deny the finding.
_CHANGE = (
    r"(?:change|difference|increase|decrease|growth|progress\w*|regress\w*|reduction|improve\w*|interval|"
    r"development|contrast|doubt|clear (?:cause|reason)|relation\w*|communication|connection|obvious cause)"
)
_BEFORE = re.compile(
    r"\b(?:no\b(?! longer\b)(?!\.)|without|absence of|absent:|negative:|absent(?= \w)|free (?:of|from)|negative for|"
    r"lack of(?! \w* ?contrast)|lacks|"
    r"neither|nor|none of|devoid of|clear of|(?:resolution|clearing|disappearance) of(?! \w* ?contrast)|never|"
    r"exclude[sd]?|rule[sd]? out|non-?existent|"
    rf"(?:do(?:es)?|did|{_BE}|could|can|has|have|had)(?:n't| not|not)\s+(?:{_ADVERB} )*(?:show|contain|have|"
    r"demonstrat|reveal|includ|exhibit|represent|reflect|suggest|indicat|display|suspicious|consistent|compatible|with)\w*)(?!\w)"
)
_SAME = re.compile(rf"\b(?:no|without)(?: \w+){{0,3}}? {_CHANGE}\b")

# What comes after the word.
_AFTER = re.compile(
    rf"(?P<absent>\b(?:(?:{_BE}|has|have|had|could|can|may|do(?:es)?|did)(?:n't| ?not)\b\s*(?:{_ADVERB} )*{_SEEN}|"
    rf"(?:{_BE} )?no longer (?:{_ADVERB} )*{_SEEN}|(?<!\w)not (?:{_ADVERB} )*{_SEEN}|"
    rf"(?:{_BE}|has|have) (?:now |already |completely |entirely |totally |largely )?(?:absent|resolved|disappeared|"
    r"cleared|ruled out|excluded|negative)|(?:(?:has|have|is|are|was|were) )?(?:been )?(?:completely|totally|fully) "
    r"(?:resolved|regressed|disappeared)|"
    r"disappeared|resolved\b|absent\b|"
    r"(?:is|are|was|were|has been|have been) (?:of )?(?:unremarkable|normal|natural|removed)\b)"
    r"|\A\s*of normal\b|\A\s*[-/]\s*no\b|\A\s*[-–:/]\s*(?:none|no|nil|absent|negative|not \w+)\s*(?:[.,;]|\Z))"
    rf"|(?P<maybe>\b(?:can ?not|could not|not|cannot be|can't)\s+(?:be\s+)?(?:completely |entirely |clearly )?"
    r"(?:excluded?|ruled? out|differentiated)|"
    rf"{_BE} (?:also )?(?:suspected|possible|probable|likely|questionable|suspicious|equivocal))"
    rf"|(?P<present>\b(?:{_BE}|has been|have been) (?:{_ADVERB} )*{_SEEN}|\b(?:attracts? attention|draws? attention|"
    r"stands? out))"
    rf"|(?P<verb>\b(?:is|are|was|were)\b)"
)
# "The heart is not enlarged": the finding's words enclose the verb.
_INSIDE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|do(?:es)?|did|could|can) ?(?:not|n't)\b|"
    r"\b(?:show|contain|reveal|demonstrat|has|have|had|with)\w* no\b|\bwithout\b|\bfree (?:of|from)\b|"
    r"\bno (?:sign|evidence)\b"
)
_DIRECTLY = re.compile(r"\b(?:is|are|was|were) ?(?:not|n't) (?:\w+ly )?\Z")
_EARLIER = re.compile(
    r"[^,;]{0,25}\b(?:in|on|at) (?:the |his |her |its )?(?:patient's )?(?:previous|prior|old|earlier|past|last)\b"
)

# A negation before a word ends where another statement begins.
_STOPS_NEGATION = re.compile(
    rf"(?<!that )(?<!which )(?<!who )\b{_BE} (?!no\b)|\bthere (?:is|are|was|were)\b|\b(?:shows?|demonstrates?|reveals?|"
    r"contains?|has|have)\b(?! no\b)(?<!not )|\b(?:due|secondary) to\b|\bbecause of\b|, (?:and )?with\b|"
    r"\b(?:attracts?|draws?) attention\b"
)
_THERE = re.compile(
    r"\bthere (?:is|are|was|were|has been|have been)\b|\b(?:shows?|showed|demonstrates?|demonstrated|reveals?|revealed|"
    r"has|have|had|contains?|with)\b|\bpresent:"
)
_MAYBE_BEFORE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|likely|suspicious (?:for|of|in terms of)|suspected|suspicion (?:of|for)|"
    r"may (?:be|represent|reflect|indicate|belong|correspond)|might|could (?:be|represent|reflect)|suggest\w*|"
    r"question(?:able)?(?: of)?|can ?not (?:be )?(?:exclude|rule)\w*|versus|vs|differential|presum\w+|equivocal|"
    r"concern(?:ing)? for|in terms of|in favou?r of|compatible with|consistent with)\b"
)
_QUESTION = re.compile(r"[^,;?]{0,60}\?")
_HISTORY = re.compile(r"\b(?:history of|known (?:case|to have)|status post|clinically)\b[^,;.]{0,60}$")


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last place where ``pattern`` matches, or None."""
    return max(pattern.finditer(text), key=lambda match: match.start(), default=None)


def lowered(text: str) -> str:
    """Return ``text`` in lower case and of the same length, so that places in one are places in the other."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(min(each.lower(), each, key=len) for each in text)


def without_parentheses(sentence: str) -> str:
    """Return ``sentence`` of the same length with the inside of parentheses blanked."""
    return _PARENTHESES.sub(lambda match: " " * len(match.group()), sentence)


def clauses(sentence: str) -> tuple[tuple[int, int], ...]:
    """Return (start, stop) of the statements in lower-case ``sentence``; each one stands for itself."""
    spans, start = [], 0
    for match in _BOUNDARY.finditer(sentence):
        spans.append((start, match.start()))
        start = match.end()
    spans.append((start, len(sentence)))
    return tuple(span for span in spans if sentence[span[0] : span[1]].strip())


def is_denied(clause: str) -> bool:
    """Whether lower-case ``clause`` denies something, whatever it names."""
    after = next((match for match in _AFTER.finditer(clause) if not match["verb"]), None)
    return bool(_BEFORE.search(clause) or _INSIDE.search(clause)) or (after is not None and after["absent"] is not None)


def polarity(clause: str, start: int, stop: int) -> Polarity | None:
    """Return what ``clause`` says about the words at ``start`` to ``stop``.

    Parameters
    ----------
    clause
        One of :func:`clauses`, lower case.
    start, stop
        Where the words stand.

    Returns
    -------
    str or None
        None where the words speak of the past or of what the patient is known for, which a scan does not show.
    """
    before, after = clause[:start], clause[stop:]
    if _HISTORY.search(before):
        return None
    if _INSIDE.search(clause, start, stop) or _denied_before(before, clause, stop):
        return "absent"
    governed = _governed_before(before)
    verdict = _after(after, governed=governed)
    if verdict == "absent":
        return "absent"
    if verdict == "uncertain" or _QUESTION.match(after) or _doubted_before(before):
        return "uncertain"
    return "present"


def _denied_before(before: str, clause: str, stop: int) -> bool:
    if _DIRECTLY.search(before):
        return True
    cue = last_match(_BEFORE, before)
    if cue is None:
        return False
    same = _SAME.match(clause[:stop], cue.start())
    if same and same.end() <= len(before):
        return False
    return not _STOPS_NEGATION.search(before, cue.end())


def _governed_before(before: str) -> bool:
    """Whether "there is" or the like opens the statement and nothing closes it before the word."""
    there = last_match(_THERE, before)
    if there is None or there.group() == "with":
        return False
    return not _AFTER.search(before, there.end())


def _after(after: str, *, governed: bool) -> Polarity | None:
    for match in _AFTER.finditer(after):
        if match["verb"]:
            return None
        if _EARLIER.match(after, match.end()):
            continue
        if match["absent"]:
            return None if governed else "absent"
        return "uncertain" if match["maybe"] else "present"
    return None


def _doubted_before(before: str) -> bool:
    cue = last_match(_MAYBE_BEFORE, before)
    return cue is not None and not _AFTER.search(before, cue.end())
