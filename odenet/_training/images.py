"""Training on images: augmented, and with batch normalisation."""

from odenet._training.net import TrainingNet

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

    def _chunks(self, *tensors):
        """A batch in training is one: its moments are its own."""
        size = len(tensors[0]) if self.module_.training else ROWS
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)
