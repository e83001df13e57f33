"""Answers on their way to panels and canvas, and the user's questions on their way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_colipri.desktop.analysis_run import AnalysisRun, Results
from napari_colipri.desktop.desk import Desk
from napari_colipri.desktop.exporting import Exporter
from napari_colipri.desktop.model import Maker
from napari_colipri.desktop.panels.findings import worth
from napari_colipri.desktop.panels.tabs import Tabs
from napari_colipri.desktop.screen import Screen
from napari_colipri.errors import ColipriError
from napari_colipri.report.draft import QUESTIONS, with_answer

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_colipri.desktop.heat import HeatOnDisplay
    from napari_colipri.desktop.loading import LoadedStudy
    from napari_colipri.engine.types import Finding, Findings, HeatMap, Segmentation

__all__ = ["Answers", "answer_sentence", "where_sentence"]


class Answers:
    """Joins run, tabs, canvas and files for the study on screen; it makes no decision about state."""

    def __init__(self, run: AnalysisRun, tabs: Tabs, screen: Screen, desk: Desk, exporter: Exporter) -> None:
        self._run, self._tabs, self._screen = run, tabs, screen
        self._desk, self._exporter = desk, exporter
        self._study: LoadedStudy | None = None
        self._maker: Maker | None = None
        self._foreign = ""
        self._question = ""
        self._asked = ""

    def signals(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Return the connections that the dock makes and undoes."""
        run, tabs = self._run, self._tabs
        return [
            (run.findings, self._on_findings),
            (run.segmented, tabs.masks.show_segmentation),
            (run.masks, self._on_masks),
            (run.no_masks, tabs.masks.show_absence),
            (run.similar, tabs.similar.show_cases),
            (run.no_similar, tabs.similar.show_absence),
            (run.heat, self._on_heat),
            (run.no_heat, self._on_no_answer),
            (run.asking, self._on_asking),
            (run.drafted, self._desk.show),
            (tabs.findings.chosen, self.show_finding),
            (tabs.findings.prompt, self._on_prompt),
            (tabs.findings.stop, self._on_stop),
            (tabs.findings.add, self._on_add),
            (tabs.masks.visibility, self._on_visibility),
            (tabs.masks.outline, self._screen.outline_masks),
            (tabs.report.evidence_wanted, self._on_evidence),
            (tabs.report.export_report, self._exporter.export_report),
            (tabs.report.export_all, self._exporter.export_all),
            (tabs.report.stop, self._exporter.stop),
        ]

    def turn_to(self, study: LoadedStudy | None) -> None:
        """Empty every page and show another study's passport and saved draft."""
        self._study, self._maker = study, None
        self._tabs.clear()
        self._exporter.close()
        self._run.look_at(study)
        self._desk.turn_to(None if study is None else study.volume.fingerprint)
        if study is not None:
            self._tabs.study.show_passport(study.volume.passport, note=study.display.note)
            self._tabs.show_page("Study")
        self.compare(None)

    def restudy(self, study: LoadedStudy) -> None:
        """Take the same study with another passport: another model was trained on other input."""
        self._study = study
        self._run.restudy(study)
        self._tabs.study.show_passport(study.volume.passport, note=study.display.note)

    def begin(self, maker: Maker | None) -> bool:
        """Get ready for an analysis; return whether another model's answers were taken off for it.

        Two models' answers never stand side by side. A draft that was edited stays on disk with its model, masks stay
        in the layer list, hidden.
        """
        before, self._maker = self._maker, maker
        other = before is not None and before != maker
        if other:
            self._tabs.clear_answers()
            self._desk.set_aside()
            self._screen.set_aside()
            self._exporter.close()
            self._run.results = Results()
        self.compare(maker)
        return other

    def compare(self, maker: Maker | None) -> str:
        """Mark the answers on screen as another model's where ``maker`` did not make them; return the sentence."""
        made = self._maker
        theirs = made is not None and maker is not None and made != maker and self._run.results.findings is not None
        self._foreign = ""
        if theirs and made is not None and maker is not None:
            again = f"Analyse again for those of {maker.words(made)}."
            self._foreign = f"These answers were made by {made.words(maker)}. {again}"
        self._tabs.findings.set_foreign("Answers of another model: analyse again to ask further." if theirs else "")
        return self._foreign

    def complete(self, device: str) -> None:
        """Make everything exportable: the analysis is done."""
        self._exporter.offer(self._study, self._run.results, self._run.facts(device))

    def close(self) -> None:
        """Hold no study any more."""
        self._study = None
        self._run.forget()
        self._exporter.close()

    def show_finding(self, name: str) -> None:
        """Show where the model responded to a finding, and go there."""
        self._offer(name)
        known = self._screen.show_again(name)
        if known is not None:
            self._tabs.findings.say_where(where_sentence(known, self._knows_sides()))
            return
        item = self._answer(name)
        if item is not None and item.probability is None:
            self._tabs.findings.say_where(answer_sentence(item))
            return
        if self._foreign and name not in self._run.results.heat_maps:
            self._tabs.findings.say_where(self._foreign)
            return
        self._ask(self._run.localise, name, f"Looking for “{name}”")

    def _on_findings(self, findings: Findings) -> None:
        self._tabs.findings.show_findings(findings)
        if self._tabs.page() == "Study":
            self._tabs.show_page("Findings")
        asked, self._asked = self._asked, ""
        found = self._tabs.findings.select(asked) if asked else None
        if found is not None:
            self._tabs.findings.say_where(answer_sentence(found))
            self._offer(found.name)

    def _on_masks(self, layer: Labels, segmentation: Segmentation) -> None:
        if self._study is None:
            return
        self._screen.show_masks(layer, segmentation)
        self._exporter.watch_masks(layer)
        if self._tabs.masks.outline_button.isChecked():
            self._screen.outline_masks(True)
        if self._tabs.masks.hidden():
            self._screen.hide_classes(self._tabs.masks.hidden())

    def _on_visibility(self, _label: int, _shown: bool) -> None:
        self._screen.hide_classes(self._tabs.masks.hidden())

    def _on_evidence(self, name: str) -> None:
        self._tabs.findings.select(name)
        self.show_finding(name)

    def _on_prompt(self, text: str) -> None:
        known = self._tabs.findings.select(text)
        if known is not None:  # it was asked already
            self._tabs.findings.say_where(answer_sentence(known))
            self._offer(known.name)
            return
        self._asked = text
        self._ask(self._run.ask, text, f"Asking about “{text}”")

    def _ask(self, act: Callable[[str], None], text: str, doing: str) -> None:
        self._question = doing
        self._tabs.findings.say_where(f"{doing}…", waiting=True)
        try:
            act(text)
        except ColipriError as error:
            self._on_no_answer(error.message)

    def _on_asking(self, fraction: float, text: str) -> None:
        self._tabs.findings.say_where(f"{self._question} · {text.lower()}, {round(fraction * 100)} %", waiting=True)

    def _on_no_answer(self, sentence: str) -> None:
        self._asked = ""
        self._tabs.findings.say_where(sentence)

    def _answer(self, name: str) -> Finding | None:
        found = self._run.results.findings
        items = () if found is None else found.items
        return next((item for item in items if item.name == name), None)

    def _offer(self, name: str) -> None:
        """Offer the answer to an own question for the draft: one with a number, by the model that made the draft."""
        item = self._answer(name)
        wanted = item is not None and item.probability is not None and name in self._run.prompts
        fits = self._desk.has_draft and not self._foreign
        self._tabs.findings.offer(name if wanted and fits else "")

    def _on_add(self, name: str) -> None:
        item, draft, study = self._answer(name), self._desk.draft, self._study
        if item is None or draft is None or study is None:
            return
        results = self._run.results
        heat = results.heat_maps.get(name)
        changed, sentence = with_answer(draft, item, results.segmentation, study.volume, heat)
        self._run.report_on(name)
        self._desk.add(changed, QUESTIONS, sentence.text)
        self._tabs.findings.offer("")
        self._tabs.findings.say_where(f"Added to the report under “{QUESTIONS}”; Undo there takes it out again.")

    def _on_stop(self) -> None:
        self._run.stop_asking()
        self._on_no_answer("Stopped.")

    def _on_heat(self, heat: HeatMap, on_display: HeatOnDisplay) -> None:
        if self._study is not None:
            # Two coloured films over one another could not be told apart.
            self._tabs.masks.outline_button.setChecked(True)
            self._screen.show_heat(heat, on_display, self._study.volume.fingerprint)
            self._tabs.findings.say_where(where_sentence(heat, self._knows_sides()))

    def _knows_sides(self) -> bool:
        return self._study is not None and self._study.volume.geometry.orientation_known


def answer_sentence(item: Finding) -> str:
    """Return the answer to a question in the user's own words: a number and what it is worth, or why there is none."""
    if item.probability is None:
        return f"“{item.name}”: {item.note or 'this model cannot see this finding'}."
    return f"“{item.name}”: {item.probability:.2f}, {worth(item)}. Click it to see where the model responded."


def where_sentence(heat: HeatMap, sides_known: bool) -> str:
    """Return where a heat map peaks, RAS mm with letters only where sides are known, and what it is not."""
    letters = [pair[value < 0] for value, pair in zip(heat.peak_mm, ("RL", "AP", "SI"), strict=True)]
    if sides_known:
        place = ", ".join(f"{letter} {abs(value):.0f}" for letter, value in zip(letters, heat.peak_mm, strict=True))
    else:
        place = ", ".join(f"{value:.0f}".replace("-", "\N{MINUS SIGN}") for value in heat.peak_mm)
    return f"{heat.text}: peak at {place} mm. This is where the model responded, not a segmentation."
