"""Words for the 18 findings as radiologists write them, and words for the organs that are meant.

A term is a pattern of the finding's own words. Findings whose name is a pair (calcification + aorta, thickening +
bronchial wall) are written as both orders with a short gap that no full stop or semicolon crosses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ANY_FINDING", "TERMS", "Term", "body_region"]


@dataclass(frozen=True)
class Term:
    """Words for one finding.

    Attributes
    ----------
    finding
        Canonical name.
    pattern
        Matches the words in lower-case text.
    unless
        Words in the same clause that give the match another meaning, or None.
    lung
        Whether the words mean the finding only where the sentence speaks of the lungs or of no organ.
    weak
        Whether the words alone leave it open: a visible lymph node need not be an enlarged one. Such a mention counts
        as uncertain.
    counted
        Whether a mention by these words counts for the label of a report.
    """

    finding: str
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None = None
    lung: bool = False
    weak: bool = False
    counted: bool = True


def _term(
    finding: str, pattern: str, *, unless: str = "", lung: bool = False, weak: bool = False, counted: bool = True
) -> Term:
    return Term(finding, re.compile(pattern), re.compile(unless) if unless else None, lung, weak, counted)


def _pair(first: str, second: str, gap: int = 60) -> str:
    """Both words in either order with at most ``gap`` characters between them."""
    between = rf"[^.;\"]{{0,{gap}}}?"
    return rf"(?:{first}){between}(?:{second})|(?:{second}){between}(?:{first})"


_CALCIUM = r"\bcalcif\w*|\bcalcium\b|\bathero\w*|\bplaques?\b"
_ARTERY = (
    r"\b(?:thoraco-?abdominal )?aort(?:a|as|ic)\b(?! valve)|\barterial\b|"
    r"(?<!coronary )(?<!iliac )(?<!pulmonary )\barteries\b|(?<!coronary )\bvascular (?:walls?|structures?)|"
    r"\bsupra-?aortic|\b(?:carotid|subclavian|brachiocephalic) arter|"
    r"\baortic arch\b"
)
_CORONARY = r"\bcoronar(?:y|ies)\b|\blad\b|\brca\b|\blcx\b|\bcircumflex\b|\blmca\b|\banterior descending\b"
_BIG = r"\b(?:increas\w*|enlarg\w*|larger than|dilat\w*|above normal|greater than)"
_HEART = (
    r"\bhearts?\b(?! (?:chamber|cavit|valve))|\bcardiac (?:size|silhouette|contour)|\bcardio-?thoracic (?:ratio|index)"
)
_THICK = r"\bthick(?:en(?:ed|ing|ings)|ness(?:es)?\b[^.;,]{0,15}\bincreas\w*)|\bincreas\w* [^.;,]{0,30}\bthickness"
_WALLS = (
    r"\bbronch(?:ial|us|iolar|i)?(?: and \w+)? walls?\b|\bwalls? of (?:the )?(?:\w+ ){0,2}bronch\w+|"
    r"\bbronchial(?= thick)"
)
_FLUID = r"\b(?:effusions?|fluid)\b"

TERMS: tuple[Term, ...] = (
    _term(
        "Medical material",
        r"\bcatheters?\b|\bpacemakers?\b|\bstents?\b|\bprosthe(?:sis|ses|tic)\b|\bclips?\b|\bsutures?\b|"
        r"\b(?:metallic|surgical|foreign|medical|osteosynthesis|fixation|operation) (?:\w+ )?(?:materials?|devices?|"
        r"objects?|implants?|hardware|artifacts?|densit(?:y|ies))\b|\bwires?\b|\bimplant(?:s|ed)?\b|\belectrodes?\b|"
        r"\b(?:pacing|defibrillator) leads?\b|\bicd\b|\btubes?\b|\bcannulas?\b|"
        r"\bport(?:s|acath| chamber| reservoir)?\b|\bscrews?\b|\bvalve replacement|\bmedical material|\bdevices?\b|"
        r"\bstaple(?:s| line)?\b|\bdrains?\b|"
        r"\b(?:embolization|endovascular) coils?|\bcement\b|\bsternotomy\b|"
        r"\btracheostomy\b|\bnasogastric\b|\bfixators?\b",
        unless=r"\bperitone|\bmetasta|\bnodul\w+[^.;]*\bimplant",
    ),
    _term("Arterial wall calcification", _pair(_CALCIUM, _ARTERY, 90), unless=r"\bpleural (?:\w+ )?plaques?"),
    _term(
        "Arterial wall calcification",
        r"\batherosclero\w+|\batherom\w+|\bcalcifi\w+ plaques?",
        unless=rf"\bpleura|{_CORONARY}",
        weak=True,
        counted=False,
    ),
    _term("Cardiomegaly", rf"\bcardiomegaly\b|\bcardiac enlargement|{_pair(_BIG, _HEART, 40)}"),
    _term("Pericardial effusion", _pair(_FLUID, r"\bpericardi\w+|\baround the heart\b", 70)),
    _term("Coronary artery wall calcification", _pair(_CALCIUM, _CORONARY, 90)),
    _term(
        "Hiatal hernia",
        r"\bhiat(?:al|us) hernia\w*|\bsliding (?:type )?hernia\w*|\bherniat\w+[^.;]{0,40}\bhiat\w+|"
        r"\bhernia of the stomach",
    ),
    _term(
        "Lymphadenopathy",
        r"\blymphadenopath\w+|\badenopath\w+|\blaps?\b|\blymphadenomegal\w+|"
        r"\b(?:enlarged|pathological) (?:\w+ )?(?:lymph ?)?nodes?\b",
    ),
    _term("Lymphadenopathy", r"\blymph ?nodes?\b", unless=r"\bintra-?pulmonary|\bsub-?pleural|\bfissur", weak=True),
    _term("Emphysema", r"\bemphysem\w+|\bbulla(?:e|s)?\b|\bblebs?\b", unless=r"\bsubcutaneous\b|\bpneumomediast"),
    _term(
        "Atelectasis",
        r"(?<!fibro)(?<!fibro )(?<!fibro-)\batelecta\w+|\bcollapsed? (?:of )?(?:the )?(?:\w+ ){0,2}(?:lung|lobe)",
    ),
    _term("Atelectasis", r"\bvolume loss|\bloss of volume", lung=True, weak=True, counted=False),
    _term(
        "Lung nodule",
        r"\b(?:micro)?nodules?\b(?! in the pleura)|\bnodular (?:\w+ )?(?:lesions?|opacit\w+|formations?)|"
        r"\bnodular(?:ity|ities)\b",
        unless=r"\bpleural nodul|\bnodul\w+ (?:\w+ )?thicken|\bmediastin\w+|\bin the pleura\b|\bhypodens",
        lung=True,
    ),
    _term(
        "Lung opacity",
        r"\bground[- ]?glass\w*(?! (?:\w+ )?nodul)|\bopaci(?:ty|ties|fication\w*)|\bggos?\b|\bdependent densit\w+",
        unless=r"\bopacification of the \w* ?(?:coronary|pulmonary|aort|arter|vess)",
        lung=True,
    ),
    _term(
        "Lung opacity",
        r"\bdensity increas\w+|\bincreas\w+ (?:of |in )?(?:[\w-]+ ){0,3}densit\w+",
        unless=r"\bconsolid|\bsequel|\bfibro|\bpleuroparench|\bbon(?:y|es?)\b|\bvertebra|\bmediast|\bfat(?:ty)?\b|\bplanes?\b",
        lung=True,
    ),
    _term("Lung opacity", r"\binfiltrat(?:es?|ions?)\b|\bcrazy[- ]paving", lung=True, weak=True, counted=False),
    _term(
        "Pulmonary fibrotic sequela",
        r"\bsequela\w*|\bfibro(?:sis|tic)\b|\bscar(?:s|ring)?\b|\bfibro[- ]?atel\w+|\bpleuroparenchymal\b|"
        r"\bparenchymal bands?\b",
        lung=True,
    ),
    _term(
        "Pleural effusion",
        r"\bpleural (?:\w+ )?(?:effusions?|fluid)\b|\bhydro-?(?:pneumo-?)?thora\w+|"
        + _pair(rf"(?<!pericardial ){_FLUID}", r"\bpleural?\b|\bhemithora\w+"),
    ),
    _term("Pleural effusion", r"\beffusions?\b", unless=r"\bpericard|\bnephric|\brenal|\bspleen|\babdom", lung=True),
    _term("Mosaic attenuation pattern", r"\bmosaic\b"),
    _term("Peribronchial thickening", _pair(_THICK, r"\bperi-?bronch\w+", 40)),
    _term("Peribronchial thickening", _pair(_THICK, _WALLS, 40), weak=True, counted=False),
    _term("Consolidation", r"\bconsolidat\w+", lung=True),
    _term("Bronchiectasis", r"\bbronchi?o?l?ecta\w+|\bbronchial dilat\w+"),
    _term(
        "Interlobular septal thickening",
        r"\b(?:inter|intra)-?lobular (?:and \w+ )?sept\w+|\bkerley\b|"
        + _pair(r"\bsept(?:al|a)\b", _THICK, 40)
        + r"|\binterlobular\b[^.;]{0,30}\bthick\w+",
    ),
)

#: Beginnings of the words above: a quick look whether a sentence can name a finding at all.
ANY_FINDING = re.compile(
    r"calc|ather|plaque|heart|cardi|effusion|fluid|hernia|node|adenop|adenomeg|laps?\b|emphys|bulla|bleb|atelec|collaps|volume|"
    r"nodul|glass|opaci|densit|infiltr|ggo|paving|sequel|fibro|scar|pleuroparen|parenchymal band|thora|mosaic|"
    r"bronch|consolid|sept|kerley|interlobular|cathet|pacemak|stent|prosth|clip|sutur|material|device|object|hardware|"
    r"artifact|implant|wire|electrode|lead|icd\b|tube|cannula|port|screw|valve|staple|drain|coil|cement|"
    r"tracheostomy|gastric|fixat|metallic|surgical|foreign|medical"
)

_REGIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "lung",
        re.compile(
            r"\blungs?\b|\bpulmonary\b|\bparenchyma(?:l)? (?:of (?:the |both )?lung|window|nodul)|\bfissur\w+|"
            r"\blingul\w+|\bsub-?pleural|\bpleur\w+|\bbronch\w+|\bhemithora\w+|\bapi(?:cal|ces|x)\b|\bairways?\b|"
            r"\b(?:upper|middle|lower) lobes?\b|\b\w*basal\b"
        ),
    ),
    ("thyroid", re.compile(r"\bthyroid\w*|\bisthmus\b")),
    (
        "elsewhere",
        re.compile(
            r"\bliver\b|\bhepat\w+|\bspleen\b|\bsplenic\b|\bkidneys?\b|\brenal\b|\badrenal\w*|\bpancrea\w*|\bbreasts?\b|"
            r"\bsubcutan\w*|\bcutaneous\b|\bskin\b|\bstomach\b|\bgastric\b|\bgall ?bladder\b|\bvertebra\w*|\bribs?\b|"
            r"\bbon(?:e|es|y)\b|\bmuscl\w+|\bprostat\w*|\bbladder\b|\buter\w+|\bovar\w+|\bperitone\w+|\bintestin\w+|"
            r"\bsurrenal\w*|\bretroareolar|\bthymus\b|\bthymic\b|\bgland\w*|\babdom\w+|\bmesent\w+|\boment\w+|\bperi-?(?:renal|nephric)|"
            r"\biliac\b|\baxilla\w*|\bspine\b|\bschmorl\w*|\bdisc\b"
        ),
    ),
)


def body_region(text: str) -> str:
    """Return the region that lower-case ``text`` speaks of: lung, thyroid, elsewhere, or ``""``.

    Lungs come first: a sentence that names a lung and a rib speaks of the lung.
    """
    return next((region for region, pattern in _REGIONS if pattern.search(text)), "")
