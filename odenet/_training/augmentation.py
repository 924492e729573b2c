"""Random shifts and flips of images, drawn from a generator."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Augmentation:
    """Shifts images by a few pixels, with black at the edges, and mirrors half of them.

    Parameters
    ----------
    image_shape : tuple (height, width, n_channels)
    shift : int
        The most pixels by which an image moves, up or down and to the left or right.
    flip : bool
        Whether an image becomes its mirror image, with probability 1/2.
    background : tuple of float
        The value of black in every channel.
    """

    image_shape: tuple
    shift: int
    flip: bool
    background: tuple

    def __call__(self, x, generator):
        """Return another view of every image.

        Parameters
        ----------
        x : Tensor of shape (n, height * width * n_channels)
        generator : torch.Generator
            A generator on the CPU, so that every device sees the same views.

        Returns
        -------
        x : Tensor of the same shape
        """
        images = x.view(len(x), *self.image_shape)
        if self.shift:
            images = self._shift_images(images, generator)
        if self.flip:
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            images = torch.where(
                mirrored.to(x.device)[:, None, None, None], images.flip(2), images
            )
        return images.reshape(x.shape)

    def _shift_images(self, images, generator):
        """Shift every image at random, by cutting a window out of it and a margin."""
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
