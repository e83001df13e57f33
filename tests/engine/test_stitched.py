"""A grid larger than the tower's window: the public package's sliding window, its numbers, and masks without seams."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import Bundle, BundleConfig, open_bundle
from napari_colipri.engine.bundle_files import bundle_hash
from napari_colipri.engine.official import official_config
from napari_colipri.engine.pooling import pool_in_parts
from napari_colipri.engine.preprocess import to_model_grid
from napari_colipri.engine.segment import labels_to_source
from napari_colipri.engine.session import Session
from napari_colipri.engine.towers import ImageEncoder
from napari_colipri.engine.windows import pieces, slices, windows
from napari_colipri.errors import BundleError, Cancelled, OutOfResources
from napari_colipri.progress import CancelToken
from tests.bundles import refresh_checksums, write_tiny_bundle
from tests.engine.public import Public, make_public
from tests.volumes import affine_for, chest, make_volume, rotation, sheared_affine, volume_in

WINDOW = 32
SPACING = 5.0


@pytest.fixture(scope="module")
def volume() -> CTVolume:
    shape = (70, 52, 61)
    made = make_volume(affine_for("LPS", (4, 5, 4), shape), shape, chest, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 60, shape).astype(np.float32)
    return CTVolume(made.hu + noise, made.affine, made.geometry, made.source)


# ------------------------------------------------------------------------------------ windows and pieces

sides = st.integers(1, 6).map(lambda n: 8 * n)


@settings(max_examples=60, deadline=None)
@given(window=st.tuples(sides, sides, sides), more=st.tuples(*[st.integers(0, 7).map(lambda n: 8 * n)] * 3))
def test_windows_are_those_of_the_public_package(window: tuple[int, int, int], more: tuple[int, int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchio.data import GridSampler
    size = (window[0] + more[0], window[1] + more[1], window[2] + more[2])
    expected = GridSampler._get_patches_locations(size, window, (0, 0, 0))
    assert [[*low, *high] for low, high in (zip(*box, strict=True) for box in windows(size, window))] == (
        expected.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_cover_the_image_and_meet_where_both_know_the_scores(data: st.DataObject) -> None:
    window = data.draw(st.tuples(sides, sides, sides))
    size = tuple(part + 8 * data.draw(st.integers(0, 5)) for part in window)
    inside = []
    for whole in size:
        low = data.draw(st.integers(0, whole - 1))
        inside.append((low, data.draw(st.integers(low + 1, whole))))
    count = np.zeros(size, int)
    for piece in pieces(size, window, tuple(inside)):  # type: ignore[arg-type]
        count[slices(piece.kept)] += 1
        for kept, shown, ends, held in zip(piece.kept, piece.shown, piece.ends, inside, strict=True):
            assert shown[0] <= kept[0] < kept[1] <= shown[1]
            assert all(edge % 8 == 0 for edge in shown)
            assert kept[1] - kept[0] >= min(2, held[1] - held[0])
            assert ends == (kept[0] == held[0], kept[1] == held[1])
    held_box = np.zeros(size, bool)
    held_box[tuple(slice(*pair) for pair in inside)] = True
    assert (count[held_box] >= 1).all()
    assert not count[~held_box].any()


def test_a_grid_that_fits_the_tower_is_one_piece() -> None:
    (piece,) = pieces((32, 32, 32), (32, 32, 32), ((0, 32), (5, 30), (1, 2)))
    assert piece.shown == ((0, 32),) * 3
    assert piece.kept == ((0, 32), (5, 30), (1, 2))
    assert piece.ends == ((True, True),) * 3


# --------------------------------------------------------------------------------------------- pooling


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(1, 119), max_size=5, unique=True))
def test_pooling_in_parts_equals_pooling_at_once(seed: int, cuts: list[int]) -> None:
    torch.manual_seed(seed)
    image = ImageEncoder(
        size=(16, 16, 16), patch=(8, 8, 8), embed_dim=24, depth=1, heads=2, projection_dim=16, pool_heads=4
    )
    with torch.no_grad():
        for parameter in image.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        tokens = 3 * torch.randn(120, 24)
        whole = image.pool(tokens.reshape(1, 4, 5, 6, 24))[0]
        parts = pool_in_parts(image, lambda: torch.tensor_split(tokens, sorted(cuts)))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------- parity with the public package


@pytest.fixture(scope="module", params=[64, 56], ids=["side by side", "the last one pushed back"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Public, Session]:
    size = request.param
    public = make_public(tmp_path_factory.mktemp("official") / "colipri", window=WINDOW, size=size, spacing=SPACING)
    folder = Path(shutil.copytree(public.folder, tmp_path_factory.mktemp("small") / "small"))
    config = official_config(folder, preset="stitched-1mm").model_dump(mode="json")
    config["input"] |= {"size": [size] * 3, "window": [WINDOW] * 3, "spacing_mm": [SPACING] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    return public, Session(open_bundle(folder), device="cpu")


def test_stitched_tokens_equal_the_public_ones(pair: tuple[Public, Session], volume: CTVolume) -> None:
    public, session = pair
    expected = public.encode(volume, project=False, pool=False, normalize=False, window_size=WINDOW)
    tokens = session.encode(volume).tokens
    assert tokens.dtype == np.float16
    np.testing.assert_allclose(tokens, expected.transpose(1, 2, 3, 0), atol=3e-3)


def test_the_stitched_grid_is_pooled_once_as_the_public_package_does(
    pair: tuple[Public, Session], volume: CTVolume
) -> None:
    public, session = pair
    expected = public.encode(volume, pool=True, window_size=WINDOW)
    pooled = session.encode(volume).pooled
    assert float(pooled @ expected) >= 0.99999


def test_stitched_dense_embeddings_equal_the_public_ones(pair: tuple[Public, Session], volume: CTVolume) -> None:
    public, session = pair
    expected = public.encode(volume, pool=False, window_size=WINDOW).transpose(1, 2, 3, 0)
    dense = session._loaded.dense(session.encode(volume).tokens)
    assert float((dense * expected).sum(axis=-1).min()) >= 0.9999


# ----------------------------------------------------------------------------------------------- session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of 32 on a grid of 64 x 48 x 64 voxels of 5 mm."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    sampling = {"spacing_mm": [5, 5, 5], "size": [64, 48, 64], "window": [WINDOW] * 3, "preset": "stitched-5mm"}
    refresh_checksums(folder, input=sampling)
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return open_bundle(folder)


@pytest.fixture
def session(bundle: Bundle) -> Session:
    return Session(bundle, device="cpu")


def test_one_encoding_over_the_whole_grid(session: Session, volume: CTVolume) -> None:
    encoding = session.encode(volume)
    assert encoding.tokens.shape == (8, 6, 8, 24)
    assert encoding.tokens.dtype == np.float16
    assert encoding.inside.shape == (8, 6, 8)
    assert encoding.preset == "stitched-5mm"
    assert np.linalg.norm(encoding.pooled) == pytest.approx(1.0, abs=1e-6)
    grid = to_model_grid(volume, session.bundle.input_spec)
    first = grid.affine @ [3.5, 3.5, 3.5, 1.0]
    np.testing.assert_allclose(encoding.affine @ [0, 0, 0, 1], first, atol=1e-6)
    assert session.encode(volume) is encoding


def test_tokens_do_not_know_of_other_windows(session: Session, volume: CTVolume) -> None:
    encoding = session.encode(volume)
    values = to_model_grid(volume, session.bundle.input_spec).values
    alone = session._loaded._window(values[32:, 16:, :32], lambda: None)[0].numpy()
    np.testing.assert_array_equal(encoding.tokens[4:, 2:, :4], alone.astype(np.float16))


def test_progress_runs_over_windows_and_blocks(session: Session, volume: CTVolume) -> None:
    session.load()
    seen: list[float] = []
    session.encode(volume, lambda fraction, words: seen.append(fraction) if words == "Encoding" else None)
    assert len(seen) == 8 * 2
    assert seen == sorted(seen)
    np.testing.assert_allclose(np.diff(seen), 0.9 / 16)


@pytest.mark.parametrize("at", [1, 7, 16])
def test_cancel_stops_before_the_next_block_of_any_window(session: Session, volume: CTVolume, at: int) -> None:
    token = CancelToken()
    blocks: list[float] = []

    def stop(fraction: float, words: str) -> None:
        if words == "Encoding":
            blocks.append(fraction)
            if len(blocks) == at:
                token.cancel()

    session.load()
    with pytest.raises(Cancelled):
        session.encode(volume, stop, token)
    assert len(blocks) == at
    assert len(session._cache) == 0


def test_memory_that_runs_out_in_a_later_window_is_tried_again_lower(
    session: Session, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.load()
    networks = session._loaded
    real: Callable[..., Any] = networks._window
    calls: list[str] = []

    def full_once(values: npt.NDArray[np.float32], check: Callable[[], None]) -> Any:
        calls.append(session.precision)
        if len(calls) == 5:
            raise MemoryError
        return real(values, check)

    monkeypatch.setattr(networks, "_window", full_once)
    encoding = session.encode(volume)
    assert calls == ["float32"] * 5 + ["bfloat16"] * 8
    assert encoding.precision == "bfloat16"
    assert any("memory ran out" in note for note in session.notes)
    monkeypatch.setattr(networks, "_window", lambda *_: (_ for _ in ()).throw(MemoryError))
    session._cache.clear()
    with pytest.raises(OutOfResources):
        session.encode(volume)


def test_a_heat_map_covers_the_stitched_grid(
    session: Session, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = session.encode(volume)
    heat = session.localise(encoding, "cardiomegaly")
    assert heat.values.shape == (8, 6, 8)
    assert np.array_equal(np.isfinite(heat.values), encoding.inside)
    monkeypatch.setattr("napari_colipri.engine.localise._TOGETHER", 100)  # two layers of 48 tokens at a time
    np.testing.assert_allclose(session.localise(encoding, "cardiomegaly").values, heat.values, atol=1e-6)


def test_masks_of_the_stitched_grid_lie_on_the_source_grid(session: Session, volume: CTVolume) -> None:
    seen: list[float] = []
    masks = session.segment(volume, session.encode(volume), lambda fraction, _: seen.append(fraction))
    assert masks.labels.shape == volume.hu.shape
    assert masks.labels.flags.f_contiguous
    assert masks.labels.any()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    token = CancelToken()
    with pytest.raises(Cancelled):
        session.segment(volume, session.encode(volume), lambda *_: token.cancel(), token)


def scores_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores of four classes that depend on their own voxel only: any way of cutting the grid must give the same."""
    return np.stack([np.sin(9 * values + phase) for phase in range(4)]).astype(np.float32)


def _turned_and_sheared() -> npt.NDArray[np.float64]:
    """Affine of a grid none of whose axes is one of the model grid's."""
    affine = sheared_affine(12.0, spacing_mm=(4.0, 4.0, 4.0), shape=(70, 60, 60))
    turn = np.eye(4)
    turn[:3, :3] = rotation(14.0, (0.2, 0.3, 1.0))
    return np.asarray(turn @ affine)


@pytest.mark.parametrize(
    "study",
    [
        lambda: volume_in("RAS", shape_ras=(70, 40, 66), spacing_ras=(4.1, 5.3, 4.7), anatomy=chest),
        lambda: volume_in("PIL", shape_ras=(70, 40, 66), spacing_ras=(4.1, 5.3, 4.7), anatomy=chest),
        lambda: make_volume(_turned_and_sheared(), (70, 60, 60), chest),
    ],
    ids=["along the axes", "turned", "at any angle"],
)
def test_masks_have_no_seams(session: Session, monkeypatch: pytest.MonkeyPatch, study: Callable[[], CTVolume]) -> None:
    made = study()
    noise = np.random.default_rng(1).normal(0, 200, made.hu.shape).astype(np.float32)
    noisy = CTVolume(made.hu + noise, made.affine, made.geometry, made.source)
    session.load()
    shown: list[tuple[int, ...]] = []

    def decode(tokens: npt.NDArray[np.float16], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        shown.append(values.shape)
        assert tuple(8 * size for size in tokens.shape[:3]) == values.shape
        return scores_of(values)

    monkeypatch.setattr(session._loaded, "decode", decode)
    masks = session.segment(noisy, session.encode(noisy))
    grid = to_model_grid(noisy, session.bundle.input_spec)
    whole = labels_to_source(scores_of(grid.values), grid.affine, noisy, inside=grid.inside)
    assert len(shown) == 8
    assert all(max(shape) <= WINDOW + 2 * 8 for shape in shown)  # of one piece at a time
    np.testing.assert_array_equal(masks.labels, whole)


# ------------------------------------------------------------------------------------------ configuration


def test_a_configuration_without_windows_keeps_its_hash(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    values = json.loads((folder / "config.json").read_text())
    assert "window" not in values["input"]
    config = BundleConfig.model_validate(values)
    assert "window" not in json.loads(config.model_dump_json())["input"]
    explicit = BundleConfig.model_validate({**values, "input": {**values["input"], "window": None}})
    assert bundle_hash(explicit) == bundle_hash(config)
    smaller = BundleConfig.model_validate({**values, "input": {**values["input"], "window": [16, 16, 16]}})
    assert bundle_hash(smaller) != bundle_hash(config)


@pytest.mark.parametrize(
    ("window", "said"), [([40, 32, 32], "larger"), ([16, 16, 12], "multiple"), ([16, 16], "input")]
)
def test_a_window_that_does_not_fit_is_refused(tmp_path: Path, window: list[int], said: str) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    values = json.loads((folder / "config.json").read_text())
    refresh_checksums(folder, input={**values["input"], "window": window})
    with pytest.raises(BundleError, match=said) as caught:
        open_bundle(folder)
    assert caught.value.code == "bad_config"
