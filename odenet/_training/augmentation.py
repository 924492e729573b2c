"""Random crops and flips of images, from a generator."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Augmentation:
    """Shifts images by up to some pixels, black beyond their edges, and flips them.

    Parameters
    ----------
    image_shape : tuple (height, width, n_channels)
    shift : int
        Most pixels, up or down and to the left or right.
    flip : bool
        Whether every other image, at random, is its mirror image.
    background : tuple of float
        The value of black, in every channel.
    """

    image_shape: tuple
    shift: int
    flip: bool
    background: tuple

    def __call__(self, x, generator):
        """Rows of pixels, each another view of the image that it was."""
        images = x.view(len(x), *self.image_shape)
        if self.shift:
            images = self._shifted(images, generator)
        if self.flip:
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            images = torch.where(
                mirrored.to(x.device)[:, None, None, None], images.flip(2), images
            )
        return images.reshape(x.shape)

    def _shifted(self, images, generator):
        n, (height, width, _) = len(images), self.image_shape
        s = self.shift
        padded = images.new_tensor(self.background).repeat(
            n, height + 2 * s, width + 2 * s, 1
        )
        padded[:, s : s + height, s : s + width] = images
        offsets = torch.randint(2 * s + 1, (2, n, 1, 1), generator=generator)
        down, right = offsets.to(images.device)
        rows = down + torch.arange(height, device=images.device)[:, None]
        columns = right + torch.arange(width, device=images.device)
        index = torch.arange(n, device=images.device)[:, None, None]
        return padded[index, rows, columns]
