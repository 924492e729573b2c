"""Random shifts and flips of images."""

import pytest
import torch

from odenet._training.augmentation import Augmentation

SHAPE = (4, 3, 2)
BACKGROUND = (-1.0, -2.0)


@pytest.fixture
def images():
    return torch.arange(200 * 24.0).view(200, 24)


def augmented(images, shift, flip, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Augmentation(SHAPE, shift, flip, BACKGROUND)(images, generator)


def test_a_flip_is_the_mirror_image(images):
    result = augmented(images, 0, True).view(-1, *SHAPE)
    original = images.view(-1, *SHAPE)
    same = (result == original).flatten(1).all(dim=1)
    mirrored = (result == original.flip(2)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_a_shift_moves_the_image_over_the_background(images):
    shifts = set()
    for result, image in zip(
        augmented(images, 1, False).view(-1, *SHAPE),
        images.view(-1, *SHAPE),
        strict=True,
    ):
        matches = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if torch.equal(result, moved(image, down, right))
        ]
        assert len(matches) == 1
        shifts.update(matches)
    assert len(shifts) == 9


def moved(image, down, right):
    """An image moved pixel by pixel."""
    result = torch.tensor(BACKGROUND).expand(SHAPE).clone()
    for i in range(SHAPE[0]):
        for j in range(SHAPE[1]):
            if 0 <= i - down < SHAPE[0] and 0 <= j - right < SHAPE[1]:
                result[i, j] = image[i - down, j - right]
    return result


def test_pixels_keep_their_values_however_far_away_black_is(generator):
    images = torch.randn(20, 24, generator=generator, dtype=torch.float64)
    far = Augmentation(SHAPE, 1, True, (-1e9 / 3, 1e9 / 3))(images, generator)
    values = torch.cat([images.flatten(), torch.tensor([-1e9 / 3, 1e9 / 3]).double()])
    near = far[far.abs() < 1e8]
    assert torch.isin(near, values).all()
    assert 0.3 < len(near) / far.numel() < 1


def test_the_generator_decides(images):
    torch.testing.assert_close(
        augmented(images, 1, True), augmented(images, 1, True), rtol=0, atol=0
    )
    assert not torch.equal(augmented(images, 1, True), augmented(images, 1, True, 1))


def test_nothing_to_do_changes_nothing(images):
    assert torch.equal(augmented(images, 0, False), images)
