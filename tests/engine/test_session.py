"""One bundle on one device: encoded once, cancelled between blocks, honest when memory runs out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_colipri.ct.passport import Passport, reason
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import Bundle, Encoding, open_bundle
from napari_colipri.engine.device import Choice, choose, is_out_of_memory, lower, pinned_attention
from napari_colipri.engine.memory_cache import EncodingCache, encoding_bytes
from napari_colipri.engine.session import Session
from napari_colipri.errors import BundleError, Cancelled, OutOfResources, StudyRefused
from napari_colipri.progress import CancelToken
from tests.bundles import refresh_checksums, write_tiny_bundle
from tests.volumes import affine_for, chest, make_volume, volume_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return open_bundle(folder)


@pytest.fixture(scope="module")
def volume() -> CTVolume:
    shape = (44, 30, 46)  # narrower than the grid along one axis: padding there
    return make_volume(affine_for("LPS", (5, 5, 5), shape), shape, chest, dtype=np.int16)


@pytest.fixture
def session(bundle: Bundle) -> Session:
    return Session(bundle, device="cpu")


@pytest.fixture(scope="module")
def shared(bundle: Bundle) -> Session:
    return Session(bundle, device="cpu")


@pytest.fixture(scope="module")
def encoding(shared: Session, volume: CTVolume) -> Encoding:
    return shared.encode(volume)


def test_an_encoding_says_what_it_is(bundle: Bundle, volume: CTVolume, encoding: Encoding) -> None:
    assert encoding.tokens.dtype == np.float16
    assert encoding.tokens.shape == (4, 4, 4, 24)
    assert encoding.pooled.dtype == np.float32
    assert np.linalg.norm(encoding.pooled) == pytest.approx(1.0, abs=1e-6)
    assert encoding.bundle_hash == bundle.hash
    assert encoding.volume_fingerprint == volume.fingerprint
    assert (encoding.preset, encoding.precision) == ("whole-8mm", "float32")


def test_tokens_lie_where_their_patches_are(volume: CTVolume, encoding: Encoding) -> None:
    np.testing.assert_allclose(encoding.affine[:3, :3], np.diag([64.0, 64.0, 64.0]))
    centre = encoding.affine @ [1.5, 1.5, 1.5, 1.0]
    middle = volume.affine @ [*(np.array(volume.hu.shape) - 1) / 2, 1.0]
    np.testing.assert_allclose(centre, middle, atol=4.0)  # half a model voxel: where odd sizes are cut


def test_tokens_of_padding_are_outside(shared: Session, encoding: Encoding) -> None:
    # 150 mm of image in the middle of 256 mm: the two middle patches of 64 mm hold it and reach into both neighbours
    assert encoding.inside.any(axis=(0, 2)).all()
    narrow = volume_in("RAS", shape_ras=(20, 6, 20), spacing_ras=(8.0, 8.0, 8.0), anatomy=chest)
    # 48 mm of image: the two middle patches alone
    assert np.flatnonzero(shared.encode(narrow).inside.any(axis=(0, 2))).tolist() == [1, 2]


def test_an_encoding_does_not_depend_on_how_the_volume_is_stored(shared: Session) -> None:
    stored: list[CTVolume] = [
        volume_in(codes, shape_ras=(30, 24, 28), spacing_ras=(8.0, 8.0, 8.0), anatomy=chest)
        for codes in ("RAS", "LPS", "ILA")
    ]
    first, *others = (shared.encode(each) for each in stored)
    for other in others:
        np.testing.assert_allclose(other.pooled, first.pooled, atol=1e-5)
        np.testing.assert_allclose(other.affine, first.affine, atol=1e-6)


def test_a_volume_is_encoded_once(session: Session, volume: CTVolume) -> None:
    first = session.encode(volume)
    seen: list[str] = []
    assert session.encode(volume, lambda _fraction, words: seen.append(words)) is first
    assert "Encoding" not in seen


def test_progress_rises_to_one(session: Session, volume: CTVolume) -> None:
    session.load()
    seen: list[float] = []
    session.encode(volume, lambda fraction, _words: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_cancel_stops_before_the_next_block_and_keeps_nothing(session: Session, volume: CTVolume) -> None:
    token = CancelToken()
    blocks: list[float] = []

    def stop_at_first_block(fraction: float, words: str) -> None:
        if words == "Encoding":
            blocks.append(fraction)
            token.cancel()

    session.load()
    with pytest.raises(Cancelled):
        session.encode(volume, stop_at_first_block, token)
    assert len(blocks) == 1  # of two
    assert len(session._cache) == 0
    assert session.encode(volume).tokens.shape == (4, 4, 4, 24)


def test_a_study_that_must_not_be_analysed_is_refused(session: Session, volume: CTVolume) -> None:
    refused = replace(volume, passport=Passport((reason("not_hu", "Values are not HU."),)))
    with pytest.raises(StudyRefused) as caught:
        session.encode(refused)
    assert caught.value.code == "not_hu"
    assert caught.value.exit_status == 3


def test_findings_follow_the_formula(session: Session, encoding: Encoding, folder: Path) -> None:
    found = session.findings(encoding, ["enlarged heart", "zzyzx"])
    item = found.items[0]
    embedded = [session.embed_text(list(side)) for side in (item.present, item.absent)]
    present, absent = (side.mean(axis=0) / np.linalg.norm(side.mean(axis=0)) for side in embedded)
    logits = np.array([encoding.pooled @ present, encoding.pooled @ absent], np.float64) / 0.07
    assert item.probability == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum(), abs=1e-5)
    assert found.items[-2].name == "enlarged heart"
    assert found.items[-2].probability is not None
    assert found.items[-1].probability is None
    assert found.bundle_hash == encoding.bundle_hash
    assert "demonstration model trained on phantoms: not for patients" in found.notes


def test_unverified_settings_are_said_beside_the_numbers(folder: Path, tmp_path: Path, volume: CTVolume) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "assumed"))
    refresh_checksums(other, settings={"axis_order": "assumed", "pooling": "verified", "preset": "verified"})
    session = Session(open_bundle(other), device="cpu")
    assert "settings not verified" in session.findings(session.encode(volume)).notes


def test_texts_are_embedded_once(session: Session) -> None:
    session.load()
    first = session.embed_text(["lung nodule", "heart", "lung nodule"])
    assert first.shape == (3, 16)
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-6)
    session._loaded._embed = _forbidden  # type: ignore[method-assign]
    np.testing.assert_array_equal(session.embed_text(["heart"])[0], first[1])


def test_a_text_does_not_depend_on_its_neighbours(session: Session) -> None:
    alone = session.embed_text(["heart"])[0]
    session.unload()
    together = session.embed_text(["heart", "lung nodule is present in the left lower lung"])[0]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def _forbidden(*_: Any) -> Any:
    raise AssertionError("computed again")


def test_a_heat_map_knows_nothing_outside_the_image(session: Session, bundle: Bundle) -> None:
    narrow = volume_in("RAS", shape_ras=(20, 6, 20), spacing_ras=(8.0, 8.0, 8.0), anatomy=chest)
    encoded = session.encode(narrow)
    heat = session.localise(encoded, "cardiomegaly")
    assert heat.text == "Cardiomegaly"
    assert np.array_equal(np.isfinite(heat.values), encoded.inside)
    assert heat.peak_value == np.nanmax(heat.values)
    index = np.linalg.inv(heat.affine) @ [*heat.peak_mm, 1.0]
    assert encoded.inside[tuple(np.round(index[:3]).astype(int))]
    assert heat.bundle == bundle.name


@pytest.mark.parametrize(("text", "code"), [("zzyzx", "unknown_words"), ("bronchiectasis", "untrained")])
def test_no_heat_map_for_what_the_model_cannot_know(session: Session, encoding: Encoding, text: str, code: str) -> None:
    with pytest.raises(BundleError) as caught:
        session.localise(encoding, text)
    assert caught.value.code == code


def test_masks_lie_on_the_source_grid(session: Session, volume: CTVolume) -> None:
    seen: list[float] = []
    encoded = session.encode(volume)
    masks = session.segment(volume, encoded, lambda fraction, _words: seen.append(fraction))
    assert masks.labels.shape == volume.hu.shape
    assert masks.labels.dtype == np.uint8
    assert [item.name for item in masks.classes] == ["lung_left", "lung_right", "heart"]
    for item in masks.classes:
        assert item.volume_ml == pytest.approx((masks.labels == item.label).sum() * volume.voxel_ml)
    assert seen == sorted(seen)
    assert masks.bundle_hash == encoded.bundle_hash


def test_segmenting_can_be_cancelled(session: Session, volume: CTVolume, encoding: Encoding) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        session.segment(volume, encoding, cancel=token)


def test_a_bundle_without_a_decoder_says_so(tmp_path: Path, volume: CTVolume) -> None:
    session = Session(open_bundle(write_tiny_bundle(tmp_path / "plain", decoder=False)), device="cpu")
    with pytest.raises(BundleError) as caught:
        session.segment(volume, session.encode(volume))
    assert caught.value.code == "no_decoder"


def test_an_encoding_is_used_only_with_its_bundle_and_volume(
    session: Session, volume: CTVolume, encoding: Encoding
) -> None:
    strange = replace(encoding, bundle_hash="0" * 64)
    uses: list[Callable[[], object]] = [
        lambda: session.findings(strange),
        lambda: session.localise(strange, "heart"),
        lambda: session.segment(volume, strange),
    ]
    for use in uses:
        with pytest.raises(BundleError) as caught:
            use()
        assert caught.value.code == "other_bundle"
    with pytest.raises(BundleError) as caught:
        session.segment(volume, replace(encoding, volume_fingerprint="0"))
    assert caught.value.code == "other_volume"


def test_half_precision_stays_close_to_float32(bundle: Bundle, volume: CTVolume, encoding: Encoding) -> None:
    half = Session(bundle, device="cpu", precision="bfloat16")
    other = half.encode(volume)
    assert other.precision == "bfloat16"
    assert half.description == "CPU, bfloat16"
    assert float(other.pooled @ encoding.pooled) >= 0.999


def test_weights_stored_in_half_precision_are_computed_in_float32(
    folder: Path, tmp_path: Path, volume: CTVolume, encoding: Encoding
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "half"))
    tensors = {key: value.half() for key, value in load_file(other / "model.safetensors").items()}
    save_file(tensors, other / "model.safetensors")
    refresh_checksums(other)
    session = Session(open_bundle(other), device="cpu")
    encoded = session.encode(volume)
    assert session.precision == "float32"
    assert float(encoded.pooled @ encoding.pooled) >= 0.9999
    assert {parameter.dtype for parameter in session._loaded._model.parameters()} == {torch.float32}


def test_unload_forgets_and_the_next_call_loads_again(session: Session, volume: CTVolume) -> None:
    first = session.encode(volume)
    session.unload()
    assert len(session._cache) == 0
    again = session.encode(volume)
    assert again is not first
    np.testing.assert_array_equal(again.tokens, first.tokens)


def test_when_memory_runs_out_it_is_tried_once_more_and_said(
    session: Session, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.load()
    work = session._loaded.encode
    tried: list[str] = []

    def once_too_large(*args: Any) -> Any:
        tried.append(session.precision)
        if len(tried) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(*args)

    monkeypatch.setattr(session._loaded, "encode", once_too_large)
    encoded = session.encode(volume)
    assert tried == ["float32", "bfloat16"]
    assert encoded.precision == "bfloat16"
    note = "memory ran out on CPU, float32: computed on CPU, bfloat16"
    assert note in session.findings(encoded).notes


def test_memory_that_stays_short_is_an_error_of_its_own(
    session: Session, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    session.load()
    monkeypatch.setattr(session._loaded, "encode", too_large)
    with pytest.raises(OutOfResources) as caught:
        session.encode(volume)
    assert caught.value.exit_status == 5


def test_a_defect_is_not_taken_for_a_lack_of_memory(
    session: Session, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("shapes do not match")

    session.load()
    monkeypatch.setattr(session._loaded, "encode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        session.encode(volume)
    assert session.notes == session.bundle.notes


def test_values_that_are_not_numbers_are_refused(folder: Path, tmp_path: Path, volume: CTVolume) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "nan"))
    tensors = load_file(other / "model.safetensors")
    tensors["image_encoder.projector.bias"][:] = torch.nan
    save_file(tensors, other / "model.safetensors")
    refresh_checksums(other)
    with pytest.raises(BundleError) as caught:
        Session(open_bundle(other), device="cpu").encode(volume)
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "temperature", "truncated"])
def test_weights_that_do_not_fit_are_named(folder: Path, tmp_path: Path, change: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / change))
    file = other / "model.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors["image_encoder.projector.weight"]
    elif change == "unknown":
        tensors["image_encoder.backbone.surprise"] = torch.zeros(3)
    elif change == "shape":
        tensors["image_encoder.projector.bias"] = torch.zeros(7)
    elif change == "temperature":
        tensors["softmax_temperature"] = torch.tensor(-1.0)
    save_file(tensors, file)
    if change == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    refresh_checksums(other)
    with pytest.raises(BundleError) as caught:
        Session(open_bundle(other), device="cpu").load()
    assert caught.value.code == "bad_weights"
    named = {"missing": "projector.weight", "unknown": "surprise", "shape": "projector.bias"}
    assert named.get(change, "model.safetensors") in caught.value.message


@pytest.mark.parametrize(("device", "precision"), [("tpu", "auto"), ("cpu", "float8")])
def test_unknown_devices_and_precisions_are_refused(bundle: Bundle, device: str, precision: str) -> None:
    with pytest.raises(BundleError):
        Session(bundle, device=device, precision=precision).load()


def test_a_device_that_is_not_there_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError) as caught:
        Session(bundle, device="cuda").load()
    assert caught.value.code == "no_device"


def test_devices_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose() == Choice("mps", "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert choose() == Choice("cuda", "bfloat16")
    assert lower(Choice("cuda", "float32")) == Choice("cuda", "bfloat16")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert choose() == Choice("cuda", "float32")
    assert lower(Choice("cuda", "float32")) == Choice("cuda", "float16")
    assert lower(Choice("cuda", "bfloat16")) == lower(Choice("mps", "float32")) == Choice("cpu", "float32")
    assert lower(Choice("cpu", "float32")) == Choice("cpu", "bfloat16")
    assert lower(Choice("cpu", "bfloat16")) is None


def test_attention_without_a_fused_kernel_is_refused_with_the_gigabytes() -> None:
    without = pinned_attention(Choice("mps", "float32"), tokens=13_824, heads=12)
    with pytest.raises(OutOfResources, match=r"18\.3 GB") as caught, without:
        pass
    assert is_out_of_memory(caught.value)  # so that the CPU is tried next
    with pinned_attention(Choice("mps", "float32"), tokens=2048, heads=12):
        pass
    with pinned_attention(Choice("cpu", "float32"), tokens=13_824, heads=12):
        pass


def test_the_memory_of_encodings_is_bounded(encoding: Encoding) -> None:
    size = encoding_bytes(encoding)
    cache = EncodingCache(limit_bytes=2 * size)
    for key in "abc":
        cache.put(key, encoding)
        cache.get("a")  # used, so "b" goes first
    assert cache.nbytes == 2 * size
    assert cache.get("b") is None
    assert cache.get("a") is cache.get("c") is encoding
    EncodingCache(limit_bytes=size - 1).put("a", encoding)
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_an_encoding_larger_than_the_memory_is_not_kept(encoding: Encoding) -> None:
    cache = EncodingCache(limit_bytes=encoding_bytes(encoding) - 1)
    cache.put("a", encoding)
    assert cache.get("a") is None
