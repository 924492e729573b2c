"""Training on images: augmented, and with batch normalisation."""

import torch

from odenet._training import TrainingNet

ROWS = 1024  # images at once, where nothing is trained


class ImageTrainingNet(TrainingNet):
    """A net for a network with batch normalisation.

    Its weights are never averaged: the running moments would be those of others.
    """

    averages = False

    def __init__(self, *args, augmentation=None, **kwargs):
        self.augmentation = augmentation
        super().__init__(*args, **kwargs)

    def _accumulate_gradients(self, batch):
        """Of augmented images."""
        X, y = batch
        if self.augmentation is not None:
            X = {**X, "X": self.augmentation(X["X"], self.generator)}
        return super()._accumulate_gradients((X, y))

    def objective(self, samples):
        """The objective on all samples, by the running moments."""
        self.module_.eval()
        return super().objective(samples)

    @torch.no_grad()
    def losses(self, samples):
        """The loss of every sample, by the running moments."""
        self.module_.eval()
        return torch.cat(
            [
                self.loss.per_sample(self.module_(x), y)
                for x, y in self._chunks(samples.X, samples.y)
            ]
        )

    def _chunks(self, *tensors):
        """A batch in training is one: its moments are its own."""
        size = len(tensors[0]) if self.module_.training else ROWS
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)
