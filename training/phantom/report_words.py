"""The sentences that phantoms are reported in: two sets that share none, one to train with and one held out.

Slots are filled from a :class:`~training.phantom.findings.Finding`; a sentence whose slot has no value is not used:
``{size}`` in mm or cm, ``{place}``, ``{side}`` (left or right only), ``{lungs}`` (one lung or both), ``{number}``
(above one), ``{degree}`` (severity), ``{kind}``. Conditions without a text: ``{one}``, ``{many}``, ``{both}``, and
``{is:KIND}``.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_colipri.text.findings import CT_RATE_FINDINGS, FindingTerm

__all__ = ["HEDGES", "NORMAL", "TRAIN", "Wording", "sentences"]


@dataclass(frozen=True)
class Wording:
    """Sentences about one finding: in detail, in short, and that it is not there."""

    detail: tuple[str, ...]
    short: tuple[str, ...]
    absent: tuple[str, ...]


def sentences(detail: str, short: str, absent: str) -> Wording:
    """Sentences one a line."""
    parts = [tuple(line.strip() for line in text.strip().splitlines()) for text in (detail, short, absent)]
    return Wording(*parts)


_TRAIN: dict[str, Wording] = {
    "Medical material": sentences(
        """{is:pacemaker}A pacemaker lies in the {side} chest wall with its lead in the heart.
        {is:pacemaker}{side} pectoral pacemaker with a transvenous lead.
        {is:port catheter}A port catheter on the {side} ends in the superior vena cava.
        {is:port catheter}{side} chest wall port catheter in place.
        {is:central venous catheter}Central venous catheter from the {side}, its tip in the superior vena cava.
        {is:central venous catheter}A {side} jugular central venous catheter ends in the superior vena cava.
        {is:sternal wires}Sternal wires after sternotomy.
        {is:sternal wires}Sternotomy wires in the midline.
        {is:aortic valve prosthesis}An aortic valve prosthesis is in place.
        {is:coronary stent}A coronary stent can be seen.
        {is:chest tube}A chest tube enters the {side} pleural space.
        {is:chest tube}{side} chest tube in place.
        {is:nasogastric tube}A nasogastric tube runs through the esophagus.""",
        """A medical device is in place.
        Medical devices are seen.""",
        """No medical devices.
        No catheters, tubes or implants.
        Medical devices are not seen.""",
    ),
    "Arterial wall calcification": sentences(
        """{many}Calcified plaques line the thoracic aorta.
        {degree} calcification of the aortic wall.
        The aortic arch and descending aorta show {degree} wall calcification.
        {degree} atherosclerotic calcification of the aorta.
        Plaques of the aorta are calcified, up to {size}.""",
        """Calcified aorta.
        Aortic calcification.
        The aortic wall is calcified.""",
        """No aortic wall calcification.
        The aorta is not calcified.
        No calcified plaques of the aorta.""",
    ),
    "Cardiomegaly": sentences(
        """The heart is enlarged with a transverse width of {size}.
        {degree} cardiomegaly.
        {degree} enlargement of the heart.
        The heart is enlarged, {size} across.""",
        """The heart is enlarged.
        Enlarged heart.
        Cardiomegaly.""",
        """The heart is not enlarged.
        The heart is of normal size, no cardiomegaly.
        No cardiomegaly.""",
    ),
    "Pericardial effusion": sentences(
        """Pericardial effusion of {size} thickness.
        {degree} pericardial effusion, up to {size}.
        Fluid in the pericardium measures up to {size}.
        The pericardial fluid is {size} thick.""",
        """Pericardial effusion.
        Pericardial fluid is seen.""",
        """No pericardial effusion.
        No pericardial fluid.
        Pericardial fluid is not seen.""",
    ),
    "Coronary artery wall calcification": sentences(
        """{degree} calcification of the coronary arteries.
        The coronary arteries show {degree} calcification.
        {one}A calcified plaque of the {place}.
        {many}Calcified plaques along the {place}.
        {degree} coronary artery calcification.""",
        """Coronary calcification.
        The coronary arteries are calcified.""",
        """No coronary artery calcification.
        The coronary arteries are not calcified.
        No coronary calcium.""",
    ),
    "Hiatal hernia": sentences(
        """Hiatal hernia of {size}.
        A {degree} hiatal hernia lies behind the heart and measures {size}.
        Hiatal hernia with gas and fluid, {size} in size.
        {degree} sliding hernia at the hiatus, {size}.""",
        """Hiatal hernia.
        A hiatal hernia lies behind the heart.""",
        """No hiatal hernia.
        No sliding hernia at the hiatus.
        A hiatal hernia is not seen.""",
    ),
    "Lymphadenopathy": sentences(
        """{many}{number} enlarged lymph nodes, the largest {place} with a short axis of {size}.
        {one}Enlarged {place} lymph node, {size} in short axis.
        {many}Lymphadenopathy, up to {size} in short axis, largest in the {place} station.
        {degree} lymphadenopathy with nodes up to {size}.
        {one}An enlarged {place} lymph node measures {size}.""",
        """Lymphadenopathy.
        Enlarged lymph nodes are seen.""",
        """No lymphadenopathy.
        No enlarged lymph nodes.
        Enlarged lymph nodes are not seen.""",
    ),
    "Emphysema": sentences(
        """{degree} {kind} emphysema of the {place}.
        {kind} emphysema, {degree}, in the {place}.
        {degree} emphysema, mainly in the {place}.
        Emphysematous changes of the {place}, {degree}.""",
        """Emphysema.
        Emphysematous changes.""",
        """No emphysema.
        No emphysematous changes.
        Emphysema is not seen.""",
    ),
    "Atelectasis": sentences(
        """{is:band}Band atelectasis in the {place}, {size} long.
        {is:band}Linear atelectasis of the {place}.
        {is:subsegmental}Subsegmental atelectasis of the {place}, {size} high.
        {is:subsegmental}Atelectasis at the base of the {place}.
        {is:lobar}Lobar atelectasis of the {place} with a raised diaphragm.
        {is:lobar}The {place} is atelectatic, with loss of volume.""",
        """Atelectasis.
        Atelectatic changes are seen.""",
        """No atelectasis.
        No atelectatic changes.
        Atelectasis is not seen.""",
    ),
    "Lung nodule": sentences(
        """{one}A {kind} nodule of {size} in the {place}.
        {one}{kind} nodule in the {place} measuring {size}.
        {one}{size} nodule of the {place}.
        {one}The {place} holds a {kind} nodule, {size} in diameter.
        {many}{number} {kind} nodules, the largest {size} in the {place}.
        {many}Several nodules in {lungs}; the largest lies in the {place} and measures {size}.
        {many}Multiple {kind} nodules up to {size}, the largest in the {place}.""",
        """{one}A lung nodule.
        {many}Multiple lung nodules.
        {one}Lung nodule in the {place}.""",
        """No lung nodules.
        No pulmonary nodule.
        Lung nodules are not seen.""",
    ),
    "Lung opacity": sentences(
        """{many}Ground-glass opacities in {lungs}, the largest {size}.
        {one}Ground-glass opacity of {size} in the {place}.
        {one}Hazy opacity in the {place}, {size} across.
        {many}{degree} ground-glass opacities of the {place}.
        {many}Patchy ground-glass opacification in {lungs}, up to {size}.""",
        """Ground-glass opacity.
        Hazy lung opacities.""",
        """No ground-glass opacity of the lungs.
        No lung opacities.
        Lung opacities are not seen.""",
    ),
    "Pulmonary fibrotic sequela": sentences(
        """{is:bands}Fibrotic bands in the {place}, up to {size}.
        {is:bands}Parenchymal bands and scarring of the {place}.
        {is:apical scar}Apical scarring, {size} thick, {lungs}.
        {is:apical scar}Fibrotic sequelae at the apex of {lungs}.
        {is:reticulation}Subpleural fibrosis with reticulation of the {place}.
        {is:reticulation}Reticular fibrotic changes in the {place}.""",
        """Fibrotic sequelae.
        Scarring of the lung.""",
        """No fibrotic sequelae of the lungs.
        No scarring of the lungs.
        Fibrotic changes of the lungs are not seen.""",
    ),
    "Pleural effusion": sentences(
        """{degree} {side} pleural effusion of {size}.
        {side} pleural effusion, {size} deep.
        Fluid in the {side} pleural space, up to {size} deep.
        {both}Bilateral pleural effusions, up to {size} deep.
        {both}Pleural effusion on both sides, {degree}, up to {size}.
        {both}{degree} bilateral pleural effusion.""",
        """{both}Bilateral pleural effusions.
        {side} pleural effusion.
        Pleural fluid is seen.""",
        """No pleural effusion.
        Pleural fluid is not seen.
        Pleural effusion is not seen.""",
    ),
    "Mosaic attenuation pattern": sentences(
        """{degree} mosaic attenuation of both lungs.
        Mosaic attenuation with patches of lower density in both lungs.
        Both lungs have a {degree} mosaic pattern.""",
        """Mosaic attenuation.
        Mosaic pattern of the lungs.""",
        """No mosaic attenuation.
        A mosaic pattern is not seen.""",
    ),
    "Peribronchial thickening": sentences(
        """{degree} peribronchial thickening in the {place}.
        Peribronchial thickening up to {size}.
        {degree} peribronchial cuffing and thickening of {lungs}.""",
        """Peribronchial thickening.
        Thickened peribronchial tissue.""",
        """No peribronchial thickening.
        Peribronchial thickening is not seen.""",
    ),
    "Consolidation": sentences(
        """{one}Consolidation of {size} in the {place} with air bronchograms.
        {one}{degree} consolidation of the {place}, {size} across.
        {many}Consolidations in {lungs}, the largest {size} in the {place}.
        {one}The {place} is consolidated over {size}.""",
        """Consolidation.
        {one}Consolidation in the {place}.""",
        """No consolidation.
        No airspace consolidation.
        Consolidation is not seen.""",
    ),
    "Bronchiectasis": sentences(
        """{kind} bronchiectasis of the {place}.
        {degree} {kind} bronchiectasis in the {place}.
        Bronchiectasis in the {place}, bronchi up to {size} wide.""",
        """Bronchiectasis.
        Bronchiectatic changes.""",
        """No bronchiectasis.
        Bronchiectasis is not seen.""",
    ),
    "Interlobular septal thickening": sentences(
        """{degree} interlobular septal thickening of both lungs.
        Thickened interlobular septa in both lungs.
        {degree} thickening of the interlobular septa.""",
        """Interlobular septal thickening.
        Thickened interlobular septa.""",
        """No interlobular septal thickening.
        No thickening of the interlobular septa.""",
    ),
}


def _named(term: FindingTerm, words: Wording) -> Wording:
    """Add sentences with a finding's own name: a default prompt is never trained, but each of its words is."""
    noun = term.noun[:1].upper() + term.noun[1:]
    return Wording(
        words.detail,
        (*words.short, f"{noun} present.", f"This scan shows {term.phrase}."),
        (*words.absent, f"{noun} not present.", f"This scan shows no {term.noun}."),
    )


#: Finding -> sentences to train with.
TRAIN: dict[str, Wording] = {term.name: _named(term, _TRAIN[term.name]) for term in CT_RATE_FINDINGS}

#: What may be said of organs without a finding.
NORMAL: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "Lungs": ("The lungs are well aerated.", "Both lungs are clear."),
        "Airways": ("Trachea and main bronchi are patent.", "The central airways are open."),
        "Pleura": ("The pleura is smooth.",),
        "Heart": ("The heart chambers are unremarkable.",),
        "Vessels": ("The thoracic aorta has a normal width.", "Great vessels of normal calibre."),
        "Mediastinum": ("The mediastinum lies in the midline.", "The thyroid is unremarkable."),
        "Devices": (),
        "Abdomen": ("Liver and spleen are unremarkable as far as covered.", "The upper abdomen is normal where shown."),
        "Bones": ("There is no destructive bone lesion.", "The bones are unremarkable."),
    },
    "held_out": {
        "Lungs": ("Normal aeration of both lungs.",),
        "Airways": ("No obstruction of the central airways.",),
        "Pleura": ("Pleural surfaces are regular.",),
        "Heart": ("Normal shape of the heart chambers.",),
        "Vessels": ("Aortic diameter within normal limits.",),
        "Mediastinum": ("Midline position of the mediastinum.",),
        "Devices": (),
        "Abdomen": ("Upper abdominal organs look normal on the slices that include them.",),
        "Bones": ("Skeleton without a destructive lesion.",),
    },
}

#: Words for what is not certain; the sentence follows in lower case.
HEDGES: dict[str, tuple[str, ...]] = {
    "train": ("Possible {0}", "Suspected {0}", "Probable {0}"),
    "held_out": ("Findings suspicious for {0}", "Likely {0}"),
}
