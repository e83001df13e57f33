"""Weights are shown before they are fetched, checked against the hub's checksums, pinned, and never half there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_colipri.engine import list_bundles
from napari_colipri.engine.bundle import bundles_dir
from napari_colipri.engine.download import DownloadPlan, download_bundle, plan_download
from napari_colipri.errors import BundleError, Cancelled
from napari_colipri.progress import CancelToken
from tests.bundles import write_tiny_bundle
from tests.engine.hub import Hub, serve_hub

REPO = "somebody/tiny"
VOCAB_REPO = "microsoft/BiomedVLP-CXR-BERT-specialized"


def _yes(_plan: DownloadPlan) -> bool:
    return True


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants

    hub = Hub({REPO: {**files, ".gitattributes": b"* text", "picture.png": bytes(20_000)}})
    with serve_hub(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def official(hub: Hub, tmp_path: Path) -> Hub:
    """A repository with the public package's weights and a foreign config.json, the vocabulary in another one."""
    import torch
    from safetensors.torch import save_file

    from napari_colipri.engine.towers import build_model

    vision: dict[str, Any] = {"size": (16, 16, 16), "patch": (8, 8, 8), "embed_dim": 396, "depth": 1, "heads": 6}
    bert = {
        "vocab_size": 10,
        "hidden_size": 192,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    }
    torch.manual_seed(0)
    model = build_model({**vision, "projection_dim": 192, "pool_heads": 12}, {"config": bert, "pool_heads": 12})
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "weights.safetensors")
    weights = (tmp_path / "weights.safetensors").read_bytes()
    hub.repos[REPO] = {"model.safetensors": weights, "config.json": b'{"library": "other"}', "README.md": b"# Card"}
    hub.repos[VOCAB_REPO] = {"vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nlung\n", "pytorch_model.bin": bytes(20_000)}
    return hub


def test_the_plan_names_commit_size_licence_and_checksums(hub: Hub, files: dict[str, bytes]) -> None:
    plan = plan_download(REPO)
    assert plan.commit == hub.commit(REPO)
    assert plan.licence == "mit"
    assert {file.name for file in plan.files} == set(files)  # no picture, no .gitattributes
    assert plan.size == sum(len(data) for data in files.values())
    text = plan.describe()
    for words in (plan.commit, "mit", "sha256"):
        assert words in text
    assert not hub.served


def test_nothing_is_fetched_without_a_yes(hub: Hub) -> None:
    with pytest.raises(Cancelled):
        download_bundle(REPO, confirm=lambda plan: False)
    assert not hub.served
    assert not bundles_dir().exists() or not any(bundles_dir().iterdir())


def test_a_bundle_is_fetched_verified_and_pinned(hub: Hub) -> None:
    seen: list[float] = []
    bundle = download_bundle(REPO, confirm=_yes, progress=lambda fraction, _words: seen.append(fraction))
    assert bundle.path == bundles_dir() / "tiny"
    source = json.loads((bundle.path / "config.json").read_text())["source"]
    assert (source["repo"], source["commit"], source["licence"]) == (REPO, hub.commit(REPO), "mit")
    assert {item["name"] for item in source["files"]} >= {"model.safetensors", "vocab.txt"}
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert all(hub.commit(REPO) in path for _, path, _ in hub.served)  # the pinned commit, not a branch
    assert [entry.name for entry in bundles_dir().iterdir()] == ["tiny"]


def test_official_weights_get_their_vocabulary_and_settings(official: Hub) -> None:
    bundle = download_bundle(REPO, confirm=_yes, name="official", pooling="unmasked")
    assert bundle.config.vision.embed_dim == 396
    assert bundle.config.settings.model_dump() == {
        "axis_order": "assumed",
        "pooling": "verified",
        "preset": "assumed",
    }
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    pinned = {item["name"]: item["repo"] for item in (bundle.config.source or {})["files"]}
    assert pinned["vocab.txt"] == VOCAB_REPO
    assert not any("pytorch_model" in path for _, path, _ in official.served)


def test_an_interrupted_download_goes_on_where_it_stopped(hub: Hub, files: dict[str, bytes]) -> None:
    hub.cut_after = 100
    with pytest.raises(BundleError) as caught:
        download_bundle(REPO, confirm=_yes)
    assert caught.value.code == "download_interrupted"
    assert [info for info in list_bundles() if not info.embedded] == []  # a half download is no bundle
    hub.served.clear()
    download_bundle(REPO, confirm=_yes)
    assert any(asked == "bytes=100-" for _, _, asked in hub.served)
    assert {info.name for info in list_bundles()} >= {"tiny"}


def test_a_server_without_ranges_sends_everything_again(hub: Hub) -> None:
    hub.cut_after = 100
    with pytest.raises(BundleError):
        download_bundle(REPO, confirm=_yes)
    hub.ranges = False
    assert download_bundle(REPO, confirm=_yes).name == "tiny"


def test_cancelling_keeps_what_was_fetched_for_the_next_try(hub: Hub) -> None:
    token = CancelToken()
    with pytest.raises(Cancelled):
        download_bundle(REPO, confirm=_yes, cancel=token, progress=lambda *_: token.cancel())
    assert [info for info in list_bundles() if not info.embedded] == []
    first = len(hub.served)
    download_bundle(REPO, confirm=_yes)
    assert len(hub.served) - first < len(hub.repos[REPO])


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt"])
def test_a_file_with_another_checksum_is_thrown_away_and_named(hub: Hub, name: str) -> None:
    hub.lies.add(name)
    with pytest.raises(BundleError, match=name) as caught:
        download_bundle(REPO, confirm=_yes)
    assert caught.value.code == "changed_file"
    hub.lies.clear()
    assert download_bundle(REPO, confirm=_yes).name == "tiny"


def test_a_taken_name_is_said_before_anything_is_fetched(hub: Hub) -> None:
    download_bundle(REPO, confirm=_yes)
    hub.served.clear()
    with pytest.raises(BundleError, match="already"):
        download_bundle(REPO, confirm=_yes)
    assert not hub.served


def test_an_unknown_repository_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(BundleError) as caught:
        plan_download("nobody/nothing")
    assert caught.value.code == "download_failed"
    assert "\n" not in caught.value.message


def test_a_repository_without_weights_is_refused(hub: Hub) -> None:
    hub.repos["somebody/empty"] = {"README.md": b"#"}
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        plan_download("somebody/empty")


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BundleError) as caught:
        plan_download(REPO)
    assert caught.value.code == "download_failed"
