"""Augmentation varies images and label maps together, and never changes sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data.augment import Augmentation


def ball() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A bright ball in the left, lower, back corner."""
    index = np.indices((32, 32, 32))
    inside = ((index - np.array([8, 10, 9])[:, None, None, None]) ** 2).sum(axis=0) < 25
    return np.where(inside, 0.8, -0.9).astype(np.float32), inside.astype(np.uint8)


def test_augmentation_never_flips_and_moves_mask_and_image_together() -> None:
    image, mask = ball()
    always = Augmentation(place=1.0, intensity=1.0, noise=1.0, blur=1.0)
    for seed in range(8):
        varied, moved = always(image, mask, np.random.default_rng(seed))
        assert moved is not None
        centre = np.array(np.nonzero(moved)).mean(axis=1)
        assert (centre < 16).all()
        bright = varied > 0.2
        overlap = 2 * (bright & (moved == 1)).sum() / (bright.sum() + (moved == 1).sum())
        assert overlap > 0.8
        assert varied.dtype == np.float32
        assert moved.dtype == np.uint8
        assert set(np.unique(moved)) <= {0, 1}
        assert np.abs(varied).max() <= 1


def test_augmentation_follows_its_generator_and_leaves_its_input_alone() -> None:
    image, mask = ball()
    copy = image.copy()
    results = [Augmentation()(image, mask, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    np.testing.assert_array_equal(image, copy)
    nothing = Augmentation(place=0, intensity=0, noise=0, blur=0)
    np.testing.assert_array_equal(nothing(image, None, np.random.default_rng(0))[0], image)


def test_an_unknown_label_stays_unknown_where_it_is_moved() -> None:
    image, mask = ball()
    moved = Augmentation(place=1.0)(image, np.where(mask, mask, 255).astype(np.uint8), np.random.default_rng(3))[1]
    assert moved is not None
    assert set(np.unique(moved)) == {1, 255}
