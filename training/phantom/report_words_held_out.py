"""The held-out sentences: never in training text, so that a test can ask whether a model understands other words."""

from __future__ import annotations

from training.phantom.report_words import Wording, sentences

__all__ = ["HELD_OUT"]

HELD_OUT: dict[str, Wording] = {
    "Medical material": sentences(
        """{is:pacemaker}Cardiac pacemaker implanted on the {side}, electrode within the heart.
        {is:port catheter}Implanted port over the {side} hemithorax, catheter tip within the superior vena cava.
        {is:central venous catheter}{side}-sided central line catheter reaching the superior vena cava.
        {is:sternal wires}Closure wires of a sternotomy.
        {is:aortic valve prosthesis}Prosthetic aortic valve.
        {is:coronary stent}Stent within a coronary artery.
        {is:chest tube}Thoracic drain tube on the {side}.
        {is:nasogastric tube}Feeding tube along the esophagus into the stomach.""",
        """Medical material within the chest.""",
        """Free of foreign material or devices.
        Without catheters or implanted devices.""",
    ),
    "Arterial wall calcification": sentences(
        """Calcium deposits along the wall of the thoracic aorta, {degree}.
        {degree} calcific atherosclerosis of the aortic wall.""",
        """Atherosclerotic aortic calcifications.""",
        """Without aortic calcifications.
        Absence of aortic calcification.""",
    ),
    "Cardiomegaly": sentences(
        """Cardiac enlargement, transverse diameter {size}.
        {degree} increase of the cardiothoracic ratio: the heart is enlarged.""",
        """Cardiac enlargement.""",
        """Without cardiomegaly.
        Absence of cardiomegaly.""",
    ),
    "Pericardial effusion": sentences(
        """Fluid around the heart within the pericardial sac, {size} at its widest.
        Effusion of the pericardium, {degree}, maximum {size}.""",
        """Effusion within the pericardium.""",
        """Without pericardial effusion.
        Absence of pericardial effusion.""",
    ),
    "Coronary artery wall calcification": sentences(
        """Calcium deposits in the coronary arteries, {degree}.
        {degree} calcific plaques in the coronary arteries.""",
        """Coronary artery plaques with calcium.""",
        """Without coronary calcifications.
        Absence of coronary calcium.""",
    ),
    "Hiatal hernia": sentences(
        """Part of the stomach is herniated through the hiatus, extending over {size}.
        {degree} hiatus hernia with a diameter of {size}.""",
        """Hiatus hernia.""",
        """Without a hiatal hernia.
        Absence of a hiatal hernia.""",
    ),
    "Lymphadenopathy": sentences(
        """Pathological nodes with short axes as large as {size}, predominantly {place}.
        Adenopathy, {place}, maximum short axis {size}.""",
        """Thoracic adenopathy.""",
        """Without enlarged lymph nodes.
        Absence of lymphadenopathy.""",
    ),
    "Emphysema": sentences(
        """{degree} destruction of lung tissue as in {kind} emphysema, {place}.
        Areas of {kind} emphysema occupy the {place}.""",
        """Lungs with emphysema.""",
        """Lungs without emphysema.
        Absence of emphysematous change.""",
    ),
    "Atelectasis": sentences(
        """{is:band}Plate-like atelectasis within the {place}, extending {size}.
        {is:subsegmental}Basal atelectasis of part of the {place}, {size}.
        {is:lobar}Collapse with complete atelectasis of the {place}.""",
        """Areas of atelectasis.""",
        """Lungs without atelectasis.
        Absence of atelectasis.""",
    ),
    "Lung nodule": sentences(
        """{one}Within the {place} sits a {size} {kind} nodule.
        {one}Solitary {kind} nodule, {place}, diameter {size}.
        {many}{number} nodules are scattered through {lungs}, of which the one in the {place} is largest at {size}.""",
        """{one}Solitary nodule of the lung.
        {many}Numerous nodules of the lung.""",
        """Lungs without nodules.
        Absence of pulmonary nodules.""",
    ),
    "Lung opacity": sentences(
        """{one}Area of ground-glass density, {place}, opacity diameter {size}.
        {many}Multifocal ground-glass opacities involve {lungs}, largest diameter {size}.""",
        """Areas of ground glass.""",
        """Lungs without ground glass.
        Absence of pulmonary opacity.""",
    ),
    "Pulmonary fibrotic sequela": sentences(
        """{is:bands}Streaky scars of the {place} as fibrotic sequelae, length {size}.
        {is:apical scar}Pleuroparenchymal scars over {lungs} at the apex, thickness {size}.
        {is:reticulation}Peripheral fibrosis of the lung, {place}.""",
        """Sequelae of fibrosis in the lung.""",
        """Lungs without fibrosis.
        Absence of fibrotic change.""",
    ),
    "Pleural effusion": sentences(
        """Effusion of the {side} pleura with a depth of {size}.
        {degree} quantity of pleural fluid on the {side}, {size}.
        {both}Both pleural spaces contain effusions, maximum depth {size}.""",
        """{both}Effusions of both pleural spaces.
        Effusion of the {side} pleura.""",
        """Without pleural effusion.
        Absence of pleural fluid.""",
    ),
    "Mosaic attenuation pattern": sentences(
        """Patchwork of lucent and dense lobules in both lungs, {degree} mosaic attenuation.""",
        """Lungs with mosaic attenuation.""",
        """Lungs without mosaic attenuation.
        Absence of a mosaic pattern.""",
    ),
    "Peribronchial thickening": sentences(
        """Bronchial walls of the {place} show {degree} peribronchial thickening, up to {size}.""",
        """Bronchi with peribronchial thickening.""",
        """Bronchi without peribronchial thickening.
        Absence of peribronchial thickening.""",
    ),
    "Consolidation": sentences(
        """{one}Dense airspace consolidation within the {place}, extent {size}.
        {many}Airspace consolidations involve {lungs}, up to {size}.""",
        """Airspace consolidation.""",
        """Lungs without consolidation.
        Absence of consolidated lung.""",
    ),
    "Bronchiectasis": sentences(
        """Bronchi of the {place} are widened as {kind} bronchiectasis, {size}.
        {degree} bronchiectasis involves the {place}.""",
        """Bronchi with bronchiectasis.""",
        """Bronchi without bronchiectasis.
        Absence of bronchiectasis.""",
    ),
    "Interlobular septal thickening": sentences(
        """Septal lines: {degree} interlobular thickening throughout both lungs.""",
        """Lungs with thickened interlobular septa.""",
        """Without interlobular septal thickening.
        Absence of interlobular septal thickening.""",
    ),
}
