"""Words for the 18 findings in our own wording, and forms of sentences that say they are there or not."""

from __future__ import annotations

PHRASES: dict[str, tuple[str, ...]] = {
    "Medical material": ("pacemaker", "central venous catheter", "surgical clips", "medical material"),
    "Arterial wall calcification": (
        "arterial wall calcification",
        "calcified plaque in the aorta",
        "aortic calcification",
    ),
    "Cardiomegaly": ("cardiomegaly", "enlarged heart", "cardiac enlargement"),
    "Pericardial effusion": ("pericardial effusion", "pericardial fluid", "fluid in the pericardial space"),
    "Coronary artery wall calcification": (
        "coronary artery wall calcification",
        "coronary calcification",
        "calcified plaque in the coronary arteries",
    ),
    "Hiatal hernia": ("hiatal hernia", "sliding hiatal hernia", "hiatus hernia"),
    "Lymphadenopathy": ("lymphadenopathy", "mediastinal lymphadenopathy", "enlarged hilar lymph node"),
    "Emphysema": ("emphysema", "centrilobular emphysema", "emphysematous change"),
    "Atelectasis": ("atelectasis", "subsegmental atelectasis", "collapse of the left lower lobe"),
    "Lung nodule": ("lung nodule", "solid nodule in the right upper lobe", "pulmonary nodule"),
    "Lung opacity": ("lung opacity", "ground-glass opacity", "hazy opacity in both lungs"),
    "Pulmonary fibrotic sequela": ("pulmonary fibrotic sequela", "apical scarring of the lung", "pulmonary fibrosis"),
    "Pleural effusion": ("pleural effusion", "pleural fluid", "effusion in the right hemithorax"),
    "Mosaic attenuation pattern": ("mosaic attenuation pattern", "mosaic attenuation"),
    "Peribronchial thickening": ("peribronchial thickening", "thickening of the peribronchial interstitium"),
    "Consolidation": ("consolidation", "consolidation in the left lower lobe", "airspace consolidation"),
    "Bronchiectasis": ("bronchiectasis", "tubular bronchiectasis", "traction bronchiectasis"),
    "Interlobular septal thickening": ("interlobular septal thickening", "thickening of the interlobular septa"),
}

PRESENT = (
    "{X}.",
    "There is {x}.",
    "{X} is seen.",
    "{X} was observed in this examination.",
    "Mild {x} is noted.",
    "The scan shows {x}.",
    "The patient has {x}.",
    "Images demonstrate {x}, without pneumothorax.",
    "Findings include {x}.",
    "Evidence of {x}.",
    "In this examination, {x} is present.",
    "No pneumothorax is seen, but there is {x}.",
    "No pneumothorax was observed and {x} is visible.",
    "Although no pneumothorax is seen, {x} is present.",
    "There is no significant change in {x}.",
    "{X}; no pneumothorax.",
    "{X}, which was not seen on the previous examination, is visible.",
    "Aside from {x}, no abnormality is seen.",
)
ABSENT = (
    "No {x}.",
    "There is no {x}.",
    "There is no evidence of {x}.",
    "{X} is not seen.",
    "{X} was not observed.",
    "No sign of {x} was found.",
    "The scan does not show {x}.",
    "The examination is negative for {x}.",
    "Normal study without {x}.",
    "{X} is absent.",
    "{X} is no longer seen.",
    "{X} has resolved.",
    "Absence of {x}.",
    "No pneumothorax, fracture or {x}.",
    "Neither pneumothorax nor {x} is seen.",
    "{X} or pneumothorax was not detected.",
    "A fracture is seen, however {x} is not present.",
    "{X} was ruled out.",
)
UNCERTAIN = (
    "Possible {x}.",
    "{X} cannot be excluded.",
    "Findings are suspicious for {x}.",
    "This may represent {x}.",
    "{X}?",
    "{X} is suspected.",
)


def sentence(form: str, phrase: str) -> str:
    """Fill ``form`` with ``phrase``, with a capital where the form asks for one."""
    return form.format(x=phrase, X=phrase[0].upper() + phrase[1:])
