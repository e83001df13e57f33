"""From cached tokens to a bundle that answers in the product: every adapter trained, shipped, opened, asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_colipri.analysis import analyse
from napari_colipri.engine import domain
from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.session import Session
from napari_colipri.errors import BundleError, Cancelled
from napari_colipri.progress import CancelToken
from tests.bundles import write_tiny_bundle
from tests.training.toy_studies import CLASSES, toy_studies, toy_study
from training.adapters.artifact import read_adapter, towers_of
from training.adapters.calibration import calibrate, write_calibration
from training.adapters.fitting import Schedule
from training.adapters.probes import ProbeRecipe, probe_scores, save_probe, train_probes
from training.adapters.report import ReportRecipe, save_report, train_report
from training.adapters.segmentation import SegmentationRecipe, save_segmentation, train_segmentation
from training.adapters.tokens import TokenSet, cache_tokens
from training.evaluation.bundle import Limits, score_bundle
from training.evaluation.scores import EvaluationError
from training.evaluation.studies import Study
from training.ship.card import CardFacts
from training.ship.compose import compose
from training.ship.shipping import Benchmark, ship_bundle
from training.ship.writing import ShipError, SizeLimits, write_bundle

FACTS = CardFacts(("toy studies",), "None.", "Toy studies of other seeds.")
HELD_OUT = Benchmark(lambda: toy_studies(900, 16, "test"), Limits(masks=4, reports=4), resamples=20)
TABLE = [{"label": label, "name": name, "display_name": name, "code": None} for label, name in enumerate(CLASSES)][1:]


class World:
    """A base bundle and the adapters that were trained on its towers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = open_bundle(write_tiny_bundle(folder / "base", decoder=False))
        session = Session(self.base, device="cpu")
        self.train = cache_tokens(session, toy_studies(0, 48), folder / "train", images=True)
        self.valid = cache_tokens(session, toy_studies(500, 24), folder / "valid", images=True)
        self.towers = towers_of(self.base)

    def probes(self) -> Path:
        recipe = ProbeRecipe(steps=80, rates=(0.03,), poolings=("max", "average"))
        trained = train_probes(self.train, self.valid, recipe)
        save_probe(self.folder / "probes", trained, recipe, towers=self.towers, studies=48)
        scores = probe_scores(trained, self.train), probe_scores(trained, self.valid)
        made, _, _ = calibrate(*scores, domain="phantom", name="toys", origin="probe", method="logistic", resamples=20)
        write_calibration([made], self.folder / "calibration.json")
        return self.folder / "probes"

    def segmentation(self, steps: int = 120) -> Path:
        recipe = SegmentationRecipe("patch-conv", 8, Schedule(steps=steps, batch=4, rate=1e-2, warm_up=5))
        decoder, fitted = train_segmentation(
            self.train, self.valid, len(CLASSES), recipe, log=self.folder / "log.jsonl"
        )
        folder = self.folder / f"segmentation-{steps}"
        save_segmentation(folder, decoder, TABLE, recipe, fitted, towers=self.towers, studies=48)
        return folder

    def report(self) -> Path:
        recipe = ReportRecipe(24, 1, 2, dropout=0.0, schedule=Schedule(steps=150, batch=16, rate=1e-2, warm_up=5))
        decoder, fitted = train_report(self.base, self.train, self.valid, recipe)
        save_report(self.folder / "report", decoder, recipe, fitted, towers=self.towers, studies=48)
        return self.folder / "report"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def shipped(world: World) -> Bundle:
    adapters = [read_adapter(folder) for folder in (world.probes(), world.segmentation(), world.report())]
    parts = compose(
        world.base, adapters, calibration=world.folder / "calibration.json", changes={"name": "toy", "title": "Toy"}
    )
    return ship_bundle(parts, world.folder / "toy", FACTS, HELD_OUT, figures=world.folder / "figures").bundle


@pytest.fixture
def session(shipped: Bundle) -> Session:
    return Session(shipped, device="cpu")


@pytest.fixture
def as_phantoms(monkeypatch: pytest.MonkeyPatch) -> Study:
    study = toy_study(950)
    monkeypatch.setattr(domain, "_listed", lambda: frozenset({study.volume.fingerprint}))
    return study


def test_the_bundle_is_whole_and_says_what_is_in_it(world: World, shipped: Bundle) -> None:
    assert shipped.config.adapters.files == (
        "segmentation.safetensors",
        "report.safetensors",
        "probes.safetensors",
        "calibration.json",
    )
    assert shipped.name == "toy"
    card = (shipped.path / "README.md").read_text()
    assert "Toy studies of other seeds." in card
    assert "### Findings, probe" in card
    assert "clinical F1, macro" in card
    assert "### Retrieval, sizes removed from the text" in card
    assert {"probes", "segmentation", "report"} <= shipped.config.training.keys()
    assert (world.folder / "figures" / "masks.json").is_file()
    assert open_bundle(shipped.path).hash == shipped.hash


def test_the_probe_is_a_second_answer_beside_the_first(session: Session, as_phantoms: Study) -> None:
    encoding = session.encode(as_phantoms.volume)
    items = {item.name: item for item in session.findings(encoding).items}
    first = items["Lung nodule"]
    assert first.probability is not None
    assert first.calibration is None  # only the probe was calibrated
    assert first.probe is not None
    assert first.probe["calibration"]["domain"] == "phantom"
    assert first.probe["called"] == bool(as_phantoms.labels["Lung nodule"])
    assert first.to_json()["probe"] == first.probe
    assert items["Pleural effusion"].probe is None  # nobody trained it
    assert "probe" not in items["Bronchiectasis"].to_json()


def test_on_a_volume_that_is_no_listed_phantom_the_word_is_uncalibrated(session: Session) -> None:
    encoding = session.encode(toy_study(951).volume)
    items = {item.name: item for item in session.findings(encoding).items}
    probe = items["Lung nodule"].probe
    assert probe is not None
    assert probe["calibration"] is None


def test_the_probe_finds_the_planted_ball_on_other_studies(session: Session) -> None:
    right = []
    for study in toy_studies(960, 12):
        items = {item.name: item for item in session.findings(session.encode(study.volume)).items}
        probe = items["Lung nodule"].probe
        assert probe is not None
        right.append(probe["called"] == bool(study.labels["Lung nodule"]))
    assert np.mean(right) > 0.8


def test_masks_are_on_the_source_grid_and_keep_their_sides(session: Session) -> None:
    study = toy_study(970)
    drawn = session.segment(study.volume, session.encode(study.volume)).labels
    for label in (1, 2):
        both = (drawn == label) & (study.mask == label)
        assert 2 * both.sum() / ((drawn == label).sum() + (study.mask == label).sum()) > 0.8


def test_the_report_says_what_is_there(session: Session) -> None:
    said = []
    for study in toy_studies(980, 12):
        report = session.generate_report(session.encode(study.volume))
        assert report.finished
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in report.sentences)
        text = " ".join(report.sentences).lower()
        said.append(("there is lung nodule" in text) == bool(study.labels["Lung nodule"]))
    assert np.mean(said) > 0.7


def test_writing_can_be_cancelled_and_tells_its_progress(session: Session) -> None:
    encoding = session.encode(toy_study(0).volume)
    seen: list[float] = []
    session.generate_report(encoding, lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        session.generate_report(encoding, cancel=token)


def test_a_bundle_without_a_report_decoder_says_so(world: World) -> None:
    session = Session(world.base, device="cpu")
    with pytest.raises(BundleError, match="no report decoder") as caught:
        session.generate_report(session.encode(toy_study(0).volume))
    assert caught.value.code == "no_report_decoder"


def test_a_worse_bundle_is_refused_and_the_old_one_stays(world: World, shipped: Bundle) -> None:
    poor = read_adapter(world.segmentation(steps=1))
    kept = [read_adapter(world.folder / name) for name in ("probes", "report")]
    parts = compose(world.base, [poor, *kept], calibration=world.folder / "calibration.json", changes={"name": "toy"})
    with pytest.raises(ShipError, match="mean Dice falls from") as caught:
        ship_bundle(parts, shipped.path, FACTS, HELD_OUT, against=shipped)
    assert caught.value.code == "worse"
    assert open_bundle(shipped.path).hash == shipped.hash
    with pytest.raises(ShipError, match=r"no answer any more for the probe.*no answer any more for written reports"):
        ship_bundle(compose(world.base, [poor]), shipped.path, FACTS, HELD_OUT, against=shipped)
    assert sorted(entry.name for entry in world.folder.iterdir() if entry.name.startswith(".")) == []
    told = ship_bundle(parts, world.folder / "poor", FACTS, HELD_OUT, against=shipped, even_if_worse=True)
    assert told.verdict is not None
    assert told.verdict.worse
    assert "### Beside the bundle before" in (world.folder / "poor" / "README.md").read_text()


def test_an_equal_bundle_is_not_worse(world: World, shipped: Bundle) -> None:
    again = ship_bundle(compose(shipped, []), world.folder / "again", FACTS, HELD_OUT, against=shipped)
    assert again.verdict is not None
    assert again.verdict.worse == ()
    assert {difference.change.value for difference in again.verdict.differences} == {0.0}
    assert again.bundle.hash == shipped.hash


def test_an_adapter_of_other_towers_is_refused(world: World) -> None:
    world.segmentation(steps=1)
    adapter = read_adapter(world.folder / "segmentation-1")
    other = open_bundle(write_tiny_bundle(world.folder / "other", seed=1))
    with pytest.raises(ShipError, match="other towers"):
        compose(other, [adapter])
    with pytest.raises(ShipError, match="same name"):
        compose(world.base, [adapter, adapter])
    with pytest.raises(EvaluationError, match="towers of another bundle"):
        train_report(other, world.train, world.valid)


def test_too_large_a_bundle_is_refused(world: World) -> None:
    parts = compose(world.base, [])
    for limits, said in ((SizeLimits(100, 10**9), "MiB of one file"), (SizeLimits(10**9, 100), "The bundle has")):
        with pytest.raises(ShipError, match=said):
            write_bundle(world.folder / "large", parts.config, parts.tensors, parts.files, "#", limits=limits)
    assert not (world.folder / "large").exists()


def test_tokens_are_not_encoded_twice(world: World) -> None:
    class Counting(Session):
        encoded = 0

        def encode(self, *values, **named):  # type: ignore[no-untyped-def]
            self.encoded += 1
            return super().encode(*values, **named)

    session = Counting(world.base, device="cpu")
    again = cache_tokens(session, toy_studies(500, 25), world.folder / "valid", images=True)
    assert session.encoded == 1
    assert len(again) == 25
    assert again.studies[0].other_reports == (again.studies[0].report.upper(),)
    np.testing.assert_array_equal(again.arrays(0)["tokens"], world.valid.arrays(0)["tokens"])
    other = Session(open_bundle(write_tiny_bundle(world.folder / "third", seed=3)), device="cpu")
    with pytest.raises(EvaluationError, match="another bundle"):
        cache_tokens(other, toy_studies(0, 1), world.folder / "valid", images=True)
    (world.folder / "valid" / again.studies[3].file).unlink()
    with pytest.raises(EvaluationError, match=r"studies\.jsonl line 4"):
        TokenSet(world.folder / "valid")


def test_masks_of_a_flipped_volume_reach_the_model_grid_the_right_way_round(world: World) -> None:
    arrays = world.train.arrays(0)
    left, right = ((arrays["mask"] == label).nonzero()[0].mean() for label in (1, 2))
    assert left < right  # the model grid is RAS: its first index grows to the right
    assert arrays["image"][arrays["mask"] == 1].mean() < -0.6


def test_scores_before_calibration_are_what_is_compared(session: Session, as_phantoms: Study) -> None:
    (said,) = session.findings(session.encode(as_phantoms.volume)).items[1:2]
    assert said.probe is not None
    answers = score_bundle(session, [as_phantoms, replace(toy_study(990))])
    assert answers.probe is not None
    place = answers.probe.findings.index(said.name)
    assert answers.probe.scores[0, place] == pytest.approx(said.probe["calibration"]["uncalibrated"])
    json.dumps(said.to_json())


def test_an_analysis_drafts_what_the_decoder_wrote(session: Session) -> None:
    result = analyse(toy_study(991).volume, session)
    section = result.draft.section("Generated text")
    assert section is not None
    assert [sentence.origin for sentence in section.sentences][:2] == ["template", "model"]
    assert "report" in result.record.timings_s


def test_masks_are_not_learned_where_there_are_none(world: World, tmp_path: Path) -> None:
    bare = (replace(study, mask=None) for study in toy_studies(700, 3))
    tokens = cache_tokens(Session(world.base, device="cpu"), bare, tmp_path / "bare", images=True)
    with pytest.raises(EvaluationError, match="No study of the validation tokens has a mask"):
        train_segmentation(world.train, tokens, len(CLASSES))
