"""Reports and sentences about a phantom in our own words, with present and absent forms of every finding.

The prompts of the shipped bundle (:data:`PROMPTS`) are never used verbatim here: :func:`check_disjoint` proves it.
"""

from __future__ import annotations

import numpy as np

from training.embedded.phantom.findings import PLANTED, PhantomFinding
from training.embedded.phantom.generate import Phantom

__all__ = ["PROMPTS", "absent_sentences", "plain_report_of", "present_sentences", "report_of", "vocabulary"]

#: Words for each finding, several ways.
WORDS: dict[str, tuple[str, ...]] = {
    "Medical material": (
        "medical material",
        "an implanted device",
        "a pacemaker or catheter",
        "medical device material",
    ),
    "Arterial wall calcification": (
        "arterial wall calcification",
        "aortic wall calcification",
        "calcified aortic plaques",
        "atherosclerotic calcification of the aorta",
    ),
    "Cardiomegaly": ("cardiomegaly", "an enlarged heart", "cardiac enlargement", "increased heart size"),
    "Pericardial effusion": (
        "pericardial effusion",
        "pericardial fluid",
        "fluid around the heart",
        "fluid in the pericardial space",
    ),
    "Coronary artery wall calcification": (
        "coronary artery wall calcification",
        "coronary calcification",
        "calcified coronary arteries",
        "coronary artery calcium",
    ),
    "Hiatal hernia": (
        "hiatal hernia",
        "a hernia of the stomach behind the heart",
        "herniated stomach at the hiatus",
        "a sliding hernia",
    ),
    "Lymphadenopathy": (
        "lymphadenopathy",
        "enlarged lymph nodes",
        "enlarged mediastinal nodes",
        "mediastinal lymph node enlargement",
    ),
    "Emphysema": (
        "emphysema",
        "emphysematous change",
        "emphysematous destruction of the lung",
        "low attenuation areas of emphysema",
    ),
    "Atelectasis": ("atelectasis", "collapse of the lower lobe", "basal volume loss", "atelectatic lung at the base"),
    "Lung nodule": ("lung nodule", "a pulmonary nodule", "nodules in the lung", "a round nodular lesion"),
    "Lung opacity": ("lung opacity", "ground glass opacity", "hazy opacities in the lung", "a ground glass area"),
    "Pleural effusion": (
        "pleural effusion",
        "pleural fluid",
        "fluid in the pleural space",
        "an effusion layering in the pleura",
    ),
    "Consolidation": (
        "consolidation",
        "consolidated lung",
        "airspace consolidation",
        "a dense consolidation with air bronchograms",
    ),
}

_PRESENT = (
    "{x} is seen.",
    "{x} noted.",
    "Present: {x}.",
    "The scan shows {x}.",
    "Findings include {x}.",
    "{x} is visible.",
    "{x} can be identified.",
    "Evidence of {x}.",
    "There are signs of {x}.",
    "{x} was found to be present.",
    "Images demonstrate {x}.",
    "{x}.",
)
_ABSENT = (
    "No {x}.",
    "{x} is not seen.",
    "No {x} is visible.",
    "Absent: {x}.",
    "The scan shows no {x}.",
    "Without {x}.",
    "No sign of {x}.",
    "Negative for {x}.",
    "{x} is absent.",
    "{x} was not found to be present.",
    "No evidence of {x} was found.",
    "Images demonstrate no {x}.",
)

#: What the shipped bundle asks; held out from training text.
PROMPTS = {
    "present": ("{x} is present.", "There is {x}.", "There is evidence of {x}."),
    "absent": ("{x} is not present.", "There is no {x}.", "There is no evidence of {x}."),
}


def _sentence(template: str, words: str) -> str:
    text = template.format(x=words)
    return text[0].upper() + text[1:]


def _fill(templates: tuple[str, ...], name: str) -> list[str]:
    return [_sentence(template, words) for template in templates for words in WORDS[name]]


def present_sentences(name: str) -> list[str]:
    """Every training sentence that says ``name`` is there."""
    return _fill(_PRESENT, name)


def absent_sentences(name: str) -> list[str]:
    """Every training sentence that says ``name`` is not there."""
    out = []
    for template in _ABSENT:
        bare = "no {x}" in template.lower() or template.startswith(("Without", "No sign", "No evidence"))
        for words in WORDS[name]:
            plain = words.removeprefix("a ").removeprefix("an ") if bare else words
            out.append(_sentence(template, plain))
    return out


def prompts(name: str) -> tuple[list[str], list[str]]:
    """Present and absent prompts of the shipped bundle for ``name``."""
    word = WORDS[name][0]
    return (
        [_sentence(template, word) for template in PROMPTS["present"]],
        [_sentence(template, word) for template in PROMPTS["absent"]],
    )


def _detail(item: PhantomFinding, rng: np.random.Generator) -> str:
    """One specific sentence with side, place and size."""
    size = f"{round(item.size_mm)} mm"
    many = item.count > 1
    forms: dict[str, tuple[str, ...]] = {
        "Medical material": (f"{item.where.capitalize()}.", f"A {item.where}."),
        "Arterial wall calcification": ("Calcified plaques of the thoracic aorta.", "The aortic wall is calcified."),
        "Cardiomegaly": ("The heart is enlarged.", "Heart size is increased.", "The heart is big."),
        "Pericardial effusion": (f"Pericardial fluid up to {size} thick.", f"A pericardial effusion measures {size}."),
        "Coronary artery wall calcification": (
            "The coronary arteries are calcified.",
            "Calcium along the coronary arteries.",
        ),
        "Hiatal hernia": (f"A hiatal hernia of {size} lies behind the heart.", f"Hiatal hernia measuring {size}."),
        "Lymphadenopathy": (f"Enlarged mediastinal lymph nodes up to {size}.", f"Lymph nodes measure up to {size}."),
        "Emphysema": (f"Emphysema of the {item.where}.", f"Emphysematous change in the {item.where}."),
        "Atelectasis": (f"Atelectasis of the {item.where}.", f"Volume loss in the {item.where}."),
        "Lung nodule": (
            (f"{item.count} lung nodules, the largest {size} in the {item.where}.", f"Multiple nodules up to {size}.")
            if many
            else (f"A {size} nodule in the {item.where}.", f"Lung nodule in the {item.where}, {size}.")
        ),
        "Lung opacity": (f"Ground glass opacity in the {item.where}, {size}.", f"Hazy opacity of the {item.where}."),
        "Pleural effusion": (
            ("Bilateral pleural effusions.", f"Pleural fluid on both sides up to {size}.")
            if item.side == "both"
            else (f"{str(item.side).capitalize()} pleural effusion of {size}.", f"Fluid in the {item.where}.")
        ),
        "Consolidation": (f"Consolidation in the {item.where}, {size}.", f"Dense consolidation of the {item.where}."),
    }
    choice = forms[item.name]
    return choice[int(rng.integers(len(choice)))]


def report_of(phantom: Phantom, rng: np.random.Generator) -> str:
    """Return a findings text: positives in detail or short, some negatives, shuffled half of the time."""
    lines = []
    for item in phantom.findings:
        if rng.random() < 0.65:
            lines.append(_detail(item, rng))
        else:
            lines.append(str(rng.choice(present_sentences(item.name))))
    missing = [name for name, here in zip(PLANTED, phantom.present, strict=True) if not here]
    lines.extend(str(rng.choice(absent_sentences(name))) for name in missing if rng.random() < 0.5)
    if not phantom.findings:
        lines.insert(0, str(rng.choice(["Normal chest.", "No abnormality.", "Normal study of the chest."])))
    if rng.random() < 0.5:
        rng.shuffle(lines)
    return " ".join(lines)


def plain_report_of(phantom: Phantom) -> str:
    """Return a findings text for shipped cases: every positive in detail, then what was not found."""
    rng = np.random.default_rng((phantom.seed, 11))
    lines = [_detail(item, rng) for item in phantom.findings]
    if not lines:
        lines = ["Normal study of the chest."]
    here = {item.name for item in phantom.findings}
    asked = ("Pleural effusion", "Pericardial effusion", "Lung nodule", "Consolidation", "Cardiomegaly")
    lines += [f"No {WORDS[name][0]}." for name in asked if name not in here]
    return " ".join(lines)


def vocabulary() -> list[str]:
    """Whole words and number pieces of everything this module can say; lower case.

    Letters are left out on purpose: a word that is not here becomes ``[UNK]`` and the engine says so.
    """
    import re

    rng = np.random.default_rng(0)
    text = [line for name in PLANTED for line in present_sentences(name) + absent_sentences(name)]
    text += [line for name in PLANTED for side in prompts(name) for line in side]
    places = (
        "left",
        "right",
        "both",
        "upper",
        "middle",
        "lower",
        "lobe",
        "lobes",
        "lungs",
        "pleural",
        "space",
        "pacemaker",
    )
    text += [*places, "central venous catheter on the", "normal chest no abnormality normal study of the chest"]
    for name in PLANTED:
        for count, side in ((1, "left"), (3, "both")):
            text += [_detail(PhantomFinding(name, side, "left lower lobe", 20.0, count), rng) for _ in range(40)]
    words = sorted({word for line in text for word in re.findall(r"[a-z]+", line.lower())})
    digits = [str(d) for d in range(10)]
    pieces = digits + [f"##{d}" for d in digits]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", ":", *pieces, *words]


def check_disjoint() -> None:
    """Raise if a shipped prompt stands verbatim in training text."""
    asked = {line for name in PLANTED for side in prompts(name) for line in side}
    said = {line for name in PLANTED for line in present_sentences(name) + absent_sentences(name)}
    both = asked & said
    if both:
        raise ValueError(f"test prompts stand in training text: {sorted(both)[:3]}")
