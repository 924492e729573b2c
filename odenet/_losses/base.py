"""The base of all losses."""


class Loss:
    """The base of all losses, by which a training judges the outputs of a network.

    Every loss has a file of its own in this folder. A loss of regressions also has a
    line in ``odenet._losses.registry``. Tensors have one row for each of n samples, and
    ``y`` holds encoded targets: standardised numbers, or the indices of classes.

    Attributes
    ----------
    name : str
        The name of the loss on the axis of a figure, with its unit in parentheses.
    constant_curvature : float or None
        The number c if the ``curvature`` of every sample is c times the identity,
        wherever the output is.
    """

    name = None
    constant_curvature = None

    def per_sample(self, output, y):
        """Compute the loss of every sample.

        Parameters
        ----------
        output : Tensor of shape (n, n_outputs)
        y : Tensor of shape (n, n_outputs) or (n,)

        Returns
        -------
        losses : Tensor of shape (n,)
            Differentiable with respect to the output.
        """
        raise NotImplementedError

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss with respect to its output.

        Returns
        -------
        gradient : Tensor of shape (n, n_outputs)
            The same as autograd returns for the sum of ``per_sample``.
        """
        raise NotImplementedError

    def curvature(self, output, y):
        """Compute the second derivative of every sample's loss by its output.

        Returns
        -------
        curvature : Tensor of shape (n, n_outputs, n_outputs)
            Positive semi-definite matrices.
        """
        raise NotImplementedError

    def rounding(self, eps):
        """Return the share of the loss at the start below which all is rounding.

        Parameters
        ----------
        eps : float
            The unit of rounding of the outputs.

        Returns
        -------
        share : float
            By default eps, as for losses that are known up to an absolute error.
        """
        return eps

    def for_validation(self):
        """Return the loss by which held-out samples judge a training.

        Returns
        -------
        loss : Loss
            This one, unless it differs from what users want small.
        """
        return self

    def score(self, output, y, weight):
        """Compute the score of scikit-learn, which the history records.

        Parameters
        ----------
        output, y : Tensor
        weight : Tensor of shape (n,)
            Weights of the samples.

        Returns
        -------
        score : float
            Larger is better.
        """
        raise NotImplementedError

    def decide(self, output):
        """Turn outputs into predictions that can be compared with ``y``.

        Returns
        -------
        predictions : Tensor of shape (n, n_outputs) or (n,)
        """
        raise NotImplementedError
