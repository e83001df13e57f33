"""The training loop: losses follow the zero-shot rule, crops keep labels honest, a stopped run goes on unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_colipri.engine.bundle import open_bundle
from napari_colipri.engine.session import Session
from training.embedded.align import align_bundle
from training.embedded.config import Recipe, Sizes
from training.embedded.data import RealScan, collate
from training.embedded.decode import DecoderRecipe, DecoderTrainer, train_decoder
from training.embedded.evaluate import evaluate, table
from training.embedded.losses import label_loss, lung_loss, patch_targets, segmentation_loss, sentence_loss
from training.embedded.model import TrainingModel
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED
from training.embedded.pool import fill_pool, load_sample
from training.embedded.ship import CT_RATE_UNRESOLVED, ship
from training.embedded.train import Trainer, run

SMALL = Sizes(embed_dim=36, depth=1, heads=3, projection_dim=32, text_layers=1, text_intermediate=32, decoder_width=8)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    fill_pool(folder, range(4))
    return folder


def recipe(**values: float) -> Recipe:
    usual: dict[str, float] = {"batch": 2, "warm_up": 1, "decoder_samples": 1, "decoder_every": 1, "seed": 3}
    return Recipe(**(usual | values))  # type: ignore[arg-type]


def test_the_sentence_loss_is_the_rule_of_zero_shot() -> None:
    generator = torch.Generator().manual_seed(0)
    image, present, absent = (torch.nn.functional.normalize(torch.randn(3, 8, generator=generator)) for _ in range(3))
    truth = torch.tensor([[1.0, 0.0, 1.0]]).repeat(3, 1)
    scale = torch.tensor(10.0)
    got = sentence_loss(image, present, absent, torch.arange(3), truth, scale)
    p = torch.stack([image @ present.T, image @ absent.T], -1).mul(scale).softmax(-1)[..., 0]
    assert torch.allclose(got, torch.nn.functional.binary_cross_entropy(p, truth), atol=1e-6)


def test_undecided_labels_give_no_gradient() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    label_loss(logits, torch.tensor([[1.0, float("nan"), 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] < 0 < logits.grad[0, 2]


def test_patch_targets_are_fractions_on_a_grid_that_is_no_cube() -> None:
    labels = torch.zeros(1, 8, 16, 24, dtype=torch.uint8)
    labels[0, :, 8:, 16:] = 3
    truth = torch.zeros(1, 8, 16, 24, dtype=torch.int32)
    truth[0, :4, :8, :8] = 1 << 2
    classes, findings = patch_targets(labels, truth, 5, 4, 8)
    assert classes.shape == (1, 1, 2, 3, 5)
    assert classes[0, 0, 1, 2, 3] == 1
    assert findings[0, 0, 0, 0, 2] == 0.5
    assert findings.sum() == 0.5


def test_lungs_of_real_scans_accept_airway_on_either_side() -> None:
    logits = torch.full((1, len(CLASSES), 1, 1, 2), -20.0)
    logits[:, CLASSES.index("trachea")] = 20.0
    assert lung_loss(logits, torch.tensor([[[[1, 2]]]], dtype=torch.uint8), CLASSES) < 1e-3
    logits[:, CLASSES.index("lung_left")] = 40.0
    assert lung_loss(logits, torch.tensor([[[[2, 2]]]], dtype=torch.uint8), CLASSES) > 5


def test_a_perfect_mask_costs_nothing() -> None:
    labels = torch.randint(0, 9, (1, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(labels, 9).permute(0, 4, 1, 2, 3).float() * 50
    assert segmentation_loss(logits, labels) < 0.01


def test_a_cropped_finding_is_not_called_present(pool: Path) -> None:
    for path in sorted(pool.glob("*.npz")):
        whole = load_sample(path, np.random.default_rng(0), augment=False)
        for seed in range(12):
            sample = load_sample(path, np.random.default_rng(seed))
            for bit in range(len(PLANTED)):
                left = int(((sample.truth >> bit) & 1).sum())
                total = int(((whole.truth >> bit) & 1).sum())
                if sample.present[bit] == 1:
                    assert left > 0.5 * total
                if left == 0:
                    assert sample.present[bit] != 1
            if not np.array_equal(sample.present, whole.present):
                assert sample.report == ""


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, pool: Path) -> None:
    scan = RealScan("lungs", np.zeros((72, 72, 72), np.float32), np.zeros((72, 72, 72), np.uint8))
    run(tmp_path, pool, SMALL, recipe(minutes=1e-6), [scan], workers=0)
    first = Trainer(tmp_path, SMALL, recipe(), [scan])
    assert first.restore()
    assert first.state.step == 1
    again = Trainer(tmp_path, SMALL, recipe(), [scan])
    again.restore()
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    parameters = list(first.model.parameters())
    moments = first.optimiser.state[parameters[0]]["exp_avg"]
    assert torch.equal(moments, again.optimiser.state[next(iter(again.model.parameters()))]["exp_avg"])


def test_a_run_becomes_a_bundle_that_the_product_opens(tmp_path: Path, pool: Path) -> None:
    run(tmp_path / "run", pool, SMALL, recipe(minutes=1e-6), [], workers=0)
    bundle = open_bundle(ship(tmp_path / "run", pool, tmp_path / "bundle"))
    assert bundle.config.demonstration
    assert set(bundle.config.unresolved) == set(CT_RATE_UNRESOLVED)
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["training"]["phantoms"] == 4
    session = Session(bundle, device="cpu")
    session.load()
    figures = evaluate(session, 12, dice_on=1)
    assert 0.0 < figures.macro[0] < 1.0
    assert "| **macro** |" in table(figures)


def test_the_decoder_alone_is_trained_further_and_the_towers_stay(tmp_path: Path, pool: Path) -> None:
    run(tmp_path / "run", pool, SMALL, recipe(minutes=1e-6), [], workers=0)
    first = ship(tmp_path / "run", pool, tmp_path / "first")
    before = (first / "segmentation.safetensors").read_bytes()
    scan = RealScan("lungs", np.zeros((72, 72, 72), np.float32), np.zeros((72, 72, 72), np.uint8))
    second = train_decoder(first, pool, tmp_path / "second", DecoderRecipe(minutes=1e-6, batch=1), [scan], workers=0)
    assert (second / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert (second / "segmentation.safetensors").read_bytes() != before
    bundle = open_bundle(second)  # every checksum holds
    assert bundle.config.training["decoder_stage"]["steps"] == 1
    third = train_decoder(second, pool, tmp_path / "third", DecoderRecipe(minutes=1e-6, batch=1), [], workers=0)
    assert open_bundle(third).config.training["decoder_stage"]["steps"] == 2
    assert "The decoder alone was then trained for 1 steps" in (second / "README.md").read_text(encoding="utf-8")


def test_the_decoder_stage_lowers_its_loss(pool: Path) -> None:
    torch.manual_seed(0)
    samples = [load_sample(path, np.random.default_rng(0), augment=False) for path in sorted(pool.glob("*.npz"))[:1]]
    batch = collate(samples)
    model = TrainingModel(SMALL, 10).eval()
    trainer = DecoderTrainer(
        model.towers.image_encoder, model.decoder, DecoderRecipe(minutes=10, learning_rate=6e-2), []
    )
    first = trainer.step(batch)["segment_loss"]
    for _ in range(12):
        last = trainer.step(batch)["segment_loss"]
    assert last < 0.8 * first


def test_a_bundle_is_aligned_further_and_its_vision_tower_and_masks_stay(tmp_path: Path, pool: Path) -> None:
    run(tmp_path / "run", pool, Sizes(), recipe(minutes=1e-6), [], workers=0)
    first = ship(tmp_path / "run", pool, tmp_path / "first")
    second = align_bundle(first, pool, tmp_path / "second", minutes=0.02)
    assert (second / "segmentation.safetensors").read_bytes() == (first / "segmentation.safetensors").read_bytes()
    old, new = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    for key, value in old.items():
        if key.startswith("image_encoder.backbone."):
            assert torch.equal(value, new[key])
    assert not torch.equal(old["image_encoder.projector.weight"], new["image_encoder.projector.weight"])
    assert "4 further phantoms" in (second / "README.md").read_text(encoding="utf-8")
    assert open_bundle(second).config.training["alignment_stage"]["steps"] >= 1
