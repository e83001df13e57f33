"""The convolutional path: silent it changes nothing, it sees what is near, and a bundle without it stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_colipri.engine.config import VisionConfig
from napari_colipri.engine.detail import DetailPath
from napari_colipri.engine.towers import ImageEncoder

SIZES: dict[str, Any] = {
    "size": (16, 24, 32),
    "patch": (8, 8, 8),
    "embed_dim": 24,
    "depth": 1,
    "heads": 2,
    "projection_dim": 16,
    "pool_heads": 2,
}


def test_one_vector_for_every_patch() -> None:
    path = DetailPath(8, 24)
    features = path.features(torch.zeros(2, 1, 16, 24, 32))
    assert features.shape == (2, 16, 4, 6, 8)
    assert path(features).shape == (2, 24, 2, 3, 4)


def test_a_silent_path_adds_nothing_and_a_trained_one_something() -> None:
    torch.manual_seed(0)
    with_path = ImageEncoder(**SIZES, detail=8).eval()
    plain = ImageEncoder(**SIZES).eval()
    plain.load_state_dict({k: v for k, v in with_path.state_dict().items() if not k.startswith("detail.")})
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.no_grad():
        assert not torch.allclose(with_path.tokens(image), plain.tokens(image))
        assert with_path.detail is not None
        with_path.detail.silence()
        torch.testing.assert_close(with_path.tokens(image), plain.tokens(image), atol=0, rtol=0)


def test_what_is_far_away_does_not_reach_a_patch() -> None:
    path = DetailPath(8, 24).eval()
    image = torch.zeros(1, 1, 16, 16, 96)
    changed = image.clone()
    changed[..., 64:] = 1.0
    with torch.no_grad():
        difference = (path(path.features(changed)) - path(path.features(image))).abs().amax(dim=(0, 1, 2, 3))
    assert difference[:5].max() == 0
    assert difference[8:].min() > 0


@pytest.mark.parametrize("width", [0, 8])
def test_a_tower_without_the_path_is_described_as_before(width: int) -> None:
    values = {key: value for key, value in SIZES.items() if key != "size"}
    dumped = VisionConfig(**values, detail=width).model_dump(mode="json")
    assert ("detail" in dumped) == bool(width)
