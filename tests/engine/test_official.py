"""A raw folder of the public package's weights: read, described, and equal in what it computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import Bundle, add_bundle, open_bundle
from napari_colipri.engine.config import BundleConfig
from napari_colipri.engine.official import official_config
from napari_colipri.engine.session import Session
from napari_colipri.errors import BundleError
from napari_colipri.text.findings import FINDING_NAMES
from tests.engine.public import VOCABULARY, Public, make_public
from tests.volumes import affine_for, chest, make_volume

SIZE = 32  # voxels per axis of the small copy; the preset's own 192 is left to the benchmark
SPACING = 10.0  # mm


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Public:
    return make_public(tmp_path_factory.mktemp("official") / "colipri", window=SIZE, size=SIZE, spacing=SPACING)


@pytest.fixture
def raw(public: Public, tmp_path: Path) -> Path:
    return Path(shutil.copytree(public.folder, tmp_path / "raw"))


def _small(folder: Path, **text: Any) -> Bundle:
    """The folder as a bundle on a grid that a test can afford."""
    config = official_config(folder).model_dump(mode="json")
    config["input"] |= {"size": [SIZE] * 3, "spacing_mm": [SPACING] * 3}
    config["text"] |= text
    (folder / "config.json").write_text(json.dumps(config))
    return open_bundle(folder)


@pytest.fixture(scope="module")
def session(public: Public, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = Path(shutil.copytree(public.folder, tmp_path_factory.mktemp("small") / "small"))
    return Session(_small(folder), device="cpu")


@pytest.fixture(scope="module")
def volume() -> CTVolume:
    shape = (50, 40, 61)
    made = make_volume(affine_for("LPS", (6, 6, 5), shape), shape, chest, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 60, shape).astype(np.float32)
    return CTVolume(made.hu + noise, made.affine, made.geometry, made.source)


def test_sizes_are_read_from_the_tensors(public: Public) -> None:
    config = official_config(public.folder)
    assert config.vision.model_dump() == {
        "patch": (8, 8, 8),
        "embed_dim": 396,
        "depth": 1,
        "heads": 6,
        "projection_dim": 192,
        "pool_heads": 12,
    }
    text = config.text
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (192, 1, 3)
    assert (text.intermediate_size, text.vocab_size, text.max_length) == (256, len(VOCABULARY), 512)


def test_the_preset_is_the_public_packages_and_only_assumed(public: Public) -> None:
    bundle = open_bundle(public.folder)
    spec = bundle.input_spec
    assert (spec.axis_order, spec.spacing_mm, spec.size) == ("RAS", (2.0, 2.0, 2.0), (192, 192, 192))
    assert spec.preset == "colipri-0.1.3"
    assert bundle.config.text.pooling == "masked"
    assert bundle.config.settings.assumed == ("axis_order", "pooling", "preset")
    assert "settings not verified" in bundle.notes
    assert [finding.name for finding in bundle.config.findings] == list(FINDING_NAMES)
    assert not bundle.has_decoder
    assert bundle.raw


def test_a_raw_folder_is_read_and_never_written_to(public: Public) -> None:
    before = sorted(path.name for path in public.folder.iterdir())
    open_bundle(public.folder)
    assert sorted(path.name for path in public.folder.iterdir()) == before


def test_add_records_what_was_given_as_verified(raw: Path) -> None:
    (raw / "notes.docx").write_bytes(b"not ours")
    added = add_bundle(raw, name="mine", axis_order="SAR", pooling="unmasked")
    assert added.input_spec.axis_order == "SAR"
    assert added.config.text.pooling == "unmasked"
    assert added.config.settings.model_dump() == {
        "axis_order": "verified",
        "pooling": "verified",
        "preset": "assumed",
    }
    assert "settings not verified" in added.notes
    assert sorted(path.name for path in added.path.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]
    assert not (raw / "config.json").exists()
    assert open_bundle("mine").hash == added.hash
    assert open_bundle(raw).hash != added.hash  # other settings, other results


def test_adding_and_opening_raw_give_the_same_hash(raw: Path) -> None:
    assert add_bundle(raw).hash == open_bundle(raw).hash


def test_the_second_preset_stitches_windows_of_1_mm(raw: Path) -> None:
    added = add_bundle(raw, "fine", preset="stitched-1mm")
    spec = added.input_spec
    assert (spec.preset, spec.spacing_mm, spec.size) == ("stitched-1mm", (1.0, 1.0, 1.0), (384, 384, 384))
    assert spec.tower_size == (192, 192, 192)
    assert added.config.settings.preset == "verified"
    assert open_bundle("fine").input_spec == spec
    assert added.hash != add_bundle(raw, "coarse").hash


def test_an_unknown_preset_is_refused_with_the_known_ones(raw: Path) -> None:
    with pytest.raises(BundleError, match=r"colipri-0\.1\.3 or stitched-1mm") as caught:
        add_bundle(raw, preset="whole-3mm")
    assert caught.value.code == "unsupported_preset"


def test_without_a_vocabulary_one_sentence_says_where_it_comes_from(raw: Path) -> None:
    (raw / "vocab.txt").unlink()
    with pytest.raises(BundleError) as caught:
        open_bundle(raw)
    assert caught.value.code == "missing_vocab"
    assert "microsoft/BiomedVLP-CXR-BERT-specialized" in caught.value.message
    assert "5157bdb" in caught.value.message


def test_a_folder_without_weights_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BundleError) as caught:
        open_bundle(tmp_path)
    assert caught.value.code == "not_a_bundle"


def test_a_cache_of_the_hub_is_followed_but_no_other_link(raw: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--microsoft--colipri" / "snapshots" / "abc"
    blobs = snapshot.parent.parent / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("model.safetensors", "vocab.txt")):
        shutil.move(raw / name, blobs / str(number))
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    assert open_bundle(snapshot).raw
    assert add_bundle(snapshot).path.joinpath("model.safetensors").is_symlink() is False
    outside = shutil.move(blobs / "0", tmp_path / "elsewhere")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(outside)
    with pytest.raises(BundleError, match="leaves"):
        open_bundle(snapshot)


def _save(folder: Path, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors")


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_a_width_that_nobody_published_needs_a_configuration(raw: Path) -> None:
    import torch

    tensors = _tensors(raw)
    tensors["image_encoder.backbone.down_projection.proj.weight"] = torch.zeros(400, 1, 8, 8, 8)
    _save(raw, tensors)
    with pytest.raises(BundleError) as caught:
        open_bundle(raw)
    assert caught.value.code == "unknown_size"
    assert "400" in caught.value.message


def test_another_checkpoint_is_named_as_such(raw: Path) -> None:
    import torch

    _save(raw, {"encoder.weight": torch.zeros(3)})
    with pytest.raises(BundleError) as caught:
        open_bundle(raw)
    assert caught.value.code == "bad_weights"


def test_a_truncated_checkpoint_is_refused(raw: Path) -> None:
    file = raw / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError) as caught:
        open_bundle(raw)
    assert caught.value.code == "bad_weights"


def test_keys_without_effect_are_tolerated_and_unknown_ones_named(raw: Path) -> None:
    import torch

    tensors = _tensors(raw)
    tensors["text_encoder.backbone.embeddings.position_ids"] = torch.arange(512)[None]
    tensors["text_encoder.backbone.pooler.dense.weight"] = torch.zeros(192, 192)
    del tensors["image_encoder.backbone.mask_token"]
    _save(raw, tensors)
    Session(_small(raw), device="cpu").load()
    (raw / "config.json").unlink()
    tensors["text_encoder.backbone.adapter.weight"] = torch.zeros(3)
    _save(raw, tensors)
    with pytest.raises(BundleError, match=r"adapter\.weight"):
        Session(_small(raw), device="cpu").load()


# -- parity with the public package on the same weights


def test_pooled_embeddings_equal_the_public_ones(public: Public, session: Session, volume: CTVolume) -> None:
    expected = public.encode(volume, pool=True)
    cosine = float(session.encode(volume).pooled @ expected)
    assert cosine >= 0.9999


def test_dense_embeddings_equal_the_public_ones(public: Public, session: Session, volume: CTVolume) -> None:
    expected = public.encode(volume, pool=False).transpose(1, 2, 3, 0)
    dense = session._loaded.dense(session.encode(volume).tokens)
    assert float((dense * expected).sum(axis=-1).min()) >= 0.9999
    np.testing.assert_allclose(dense, expected, atol=1e-3)


@pytest.mark.parametrize("texts", [["lung nodules present"], ["no nodule", "Pleural effusion is present, there."]])
def test_text_embeddings_equal_the_public_ones(public: Public, session: Session, texts: list[str]) -> None:
    np.testing.assert_allclose(session.embed_text(texts), public.text(texts), atol=1e-5)


def test_probabilities_equal_the_public_ones(public: Public, session: Session, volume: CTVolume) -> None:
    from napari_colipri.engine.findings import Question, answer

    pairs = [("Lung nodules present", "No lung nodules present"), ("cardiomegaly", "no cardiomegaly")]
    pooled = session.encode(volume).pooled
    asked = [Question(present, (present,), (absent,)) for present, absent in pairs]
    found = answer(pooled, asked, session.embed_text, session._loaded.temperature)
    for pair, item in zip(pairs, found, strict=True):
        expected = public.probabilities(volume, list(pair))
        assert item.probability == pytest.approx(float(expected[0]), abs=1e-3)


def test_unmasked_pooling_equals_the_older_public_versions(
    public: Public, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooler = public.model.text_encoder.pooler
    masked = pooler.forward
    monkeypatch.setattr(pooler, "forward", lambda x, attention_mask=None: masked(x))  # as colipri 0.1.2 did
    session = Session(_small(raw, pooling="unmasked"), device="cpu")
    texts = ["lung nodules present"]
    np.testing.assert_allclose(session.embed_text(texts), public.text(texts), atol=1e-5)


def test_every_finding_is_asked_and_marked_as_unverified(session: Session, volume: CTVolume) -> None:
    found = session.findings(session.encode(volume))
    assert [item.name for item in found.items] == list(FINDING_NAMES)
    assert all(item.probability is not None for item in found.items)
    assert found.notes == ("settings not verified",)


def test_the_configuration_survives_its_own_json(public: Public) -> None:
    config = official_config(public.folder)
    assert BundleConfig.model_validate_json(config.model_dump_json()) == config
