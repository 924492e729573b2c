"""What a loss owes to the training."""


class Loss:
    """The base of all losses: how a training judges the outputs of a network.

    A loss is one file in this folder. For a regression it is one line in
    ``odenet._losses.registry`` as well. Tensors have one row for each of n samples;
    ``y`` are targets as the network is to meet them, standardised or as labels.

    Attributes
    ----------
    name : str
        What the axis of a figure calls the loss, with its unit in parentheses.
    """

    name = None

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
            What autograd would return for the sum of ``per_sample``.
        """
        raise NotImplementedError

    def score(self, output, y, weight):
        """Compute the score that scikit-learn would give, for a history.

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
        """Turn outputs into predictions, of the kind that ``y`` are.

        Returns
        -------
        predictions : Tensor of shape (n, n_outputs) or (n,)
        """
        raise NotImplementedError
