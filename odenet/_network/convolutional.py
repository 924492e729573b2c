"""The residual network of images: its layers are convolutions."""

import copy
from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch import nn

from odenet._network.activations import ACTIVATIONS, check_activation
from odenet._network.base import LayeredNetwork
from odenet._network.resampling import resample
from odenet.schemes import draw_layers

# Sizes of the network in the paper (Marion, Wu, Sander and Biau, section 5.2).
STEM, STRIDE = 5, 3  # size and stride of the first convolution
FILTER = 3  # size of the filters of a layer
GRID = 2  # the last maps are averaged over a grid of so many times as many cells
MOMENTUM = 0.1  # of the running moments, torch's default
STACKED = ("V", "W", "V_norm", "W_norm")
MOMENTS = ("V_moments", "W_moments")


class ConvResidualNetwork(LayeredNetwork):
    r"""Convolutional residual network of images that is a discretised ODE.

    .. math::
        h_k = h_{k-1} + \frac1L \, N_k \big( V_k * \sigma(
            N'_k (W_k * h_{k-1})) \big), \qquad k = 1, \dots, L,

    where N are batch normalisations and the filters are of size 3, after a first
    convolution of size 5 and stride 3, and before a linear function of averages over
    the quarters of the maps: the network of Marion, Wu, Sander and Biau (ICLR 2024,
    section 5.2). Filters and normalisations are functions of depth, stacked along their
    first axis. At the start the gains of N are zero, so that no layer does anything.

    Parameters
    ----------
    image_shape : tuple (height, width, n_channels)
        Of the images, which are rows of height * width * n_channels pixels.
    n_outputs : int
        Dimension of the output.
    depth : int, default=32
        Number of layers L.
    channels : int, default=16
        Number of maps of a state.
    activation : {"gelu", "tanh", "silu", "softplus", "relu", "identity"}, \
            default="gelu"
        The function :math:`\sigma`.
    init : {"tied", "gaussian_process", "iid"} or callable, default="tied"
        The filters V and W at the start, see :mod:`odenet.schemes`, times the standard
        deviation that is usual for a convolution.
    generator : torch.Generator, default=None
        Source of the draws, on the CPU. None is torch's global one.
    dtype : torch.dtype, default=torch.float32
        Type of the parameters.

    Attributes
    ----------
    V, W : Parameter of shape (depth, channels, channels, 3, 3)
        The filters.
    V_norm, W_norm : Parameter of shape (depth, 2, channels)
        Gains and shifts of the normalisations.
    V_moments, W_moments : Tensor of shape (depth, 2, channels)
        Running means and variances, which stand for those of a batch in evaluation.

    Examples
    --------
    >>> import torch
    >>> from odenet import ConvResidualNetwork
    >>> network = ConvResidualNetwork((8, 8, 3), n_outputs=10, depth=4)
    >>> network(torch.ones(5, 8 * 8 * 3)).shape
    torch.Size([5, 10])
    """

    backward = "autograd"
    imitated_depth = None
    couples_samples = True  # by the moments of a batch, in training

    def __init__(
        self,
        image_shape,
        n_outputs,
        *,
        depth=32,
        channels=16,
        activation="gelu",
        init="tied",
        generator=None,
        dtype=torch.float32,
    ):
        super().__init__()
        self.activation = check_activation(activation)
        if len(image_shape) != 3:
            raise ValueError(
                "`image_shape` must be (height, width, n_channels), "
                f"got {image_shape!r}."
            )
        self.image_shape = tuple(image_shape)
        weights = _draw_weights(
            init, depth, channels, self.image_shape[2], n_outputs, generator
        )
        self._register({name: values.to(dtype) for name, values in weights.items()})

    @classmethod
    def from_weights(cls, weights, image_shape, activation):
        """Make a network of given weights, a dict of arrays as in ``state_dict``."""
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network.image_shape = tuple(image_shape)
        network.activation = activation
        network._register(
            {name: torch.tensor(values) for name, values in weights.items()}
        )
        return network

    def settings(self):
        """Return what ``from_weights`` needs besides the weights, as a dict."""
        return {"image_shape": self.image_shape, "activation": self.activation}

    def _register(self, weights):
        """Make parameters of weights, and buffers of moments, which are not trained."""
        for name, values in weights.items():
            if name.endswith("moments"):
                self.register_buffer(name, values)
            else:
                setattr(self, name, nn.Parameter(values))

    @property
    def width(self):
        """Number of maps of a state."""
        return self.V.shape[1]

    @property
    def state_dim(self):
        """Number of entries of a state."""
        height, width, _ = self.image_shape
        return self.width * ceil(height / STRIDE) * ceil(width / STRIDE)

    def forward(self, x):
        """Return the output, shape (n, n_outputs), for rows of pixels (n, n_pixels)."""
        h = self._run_layers(self.embed(x))[-1]
        cells = F.adaptive_avg_pool2d(h, GRID).flatten(1)
        return F.linear(cells, self.head, self.head_bias)

    def last_state(self, x):
        """Return the last state h_L, shape (n, state_dim)."""
        return self._run_layers(self.embed(x))[-1].flatten(1)

    def hidden_states(self, x):
        """Return all states h_0, ..., h_L, shape (depth + 1, n, state_dim)."""
        states = self._run_layers(self.embed(x), all_states=True)
        return torch.stack([h.flatten(1) for h in states])

    def embed(self, x):
        """Return the first state h_0, shape (n, channels, height', width')."""
        image = x.unflatten(1, self.image_shape).movedim(3, 1)
        h = F.conv2d(image, self.stem, stride=STRIDE, padding=STEM // 2)
        return torch.relu(self._normalise(h, self.stem_moments, self.stem_norm))

    def _run_layers(self, h, all_states=False):
        """Return a list of the states; of the last one only, unless asked for all."""
        states = [h]
        activation, scale = ACTIVATIONS[self.activation], 1 / self.depth
        names = ("W", "W_moments", "W_norm", "V", "V_moments", "V_norm")
        stacks = [getattr(self, name).unbind(0) for name in names]
        for W, W_moments, W_norm, V, V_moments, V_norm in zip(*stacks, strict=True):
            z = F.conv2d(states[-1], W, padding=FILTER // 2)
            z = activation(self._normalise(z, W_moments, W_norm))
            z = F.conv2d(z, V, padding=FILTER // 2)
            z = self._normalise(z, V_moments, V_norm)
            h = torch.add(states[-1], z, alpha=scale)
            states = [*states, h] if all_states else [h]
        return states

    def _normalise(self, h, moments, norm):
        """Normalise by the moments of the batch in training, which are recorded.

        A single value has no variance: it is normalised by the running moments, as
        everything is in evaluation.
        """
        by_batch = self.training and h.numel() > h.shape[1]
        return F.batch_norm(h, *moments, *norm, by_batch, MOMENTUM)

    def parameter_groups(self):
        """Return the parameters with the rates of the flow: L for the layers'."""
        layers = [getattr(self, name) for name in STACKED]
        ends = [self.stem, self.stem_norm, self.head, self.head_bias]
        return [
            {"params": ends, "lr": 1.0},
            {"params": layers, "lr": float(self.depth), "has_depth": True},
        ]

    def with_depth(self, depth, interpolation="linear"):
        """Return the network of another depth that samples the same functions of depth.

        Parameters
        ----------
        depth : int
            Number of layers of the new network, larger or smaller.
        interpolation : {"linear", "constant"}, default="linear"
            Piecewise linear through the middles of the layers, or piecewise constant.

        Returns
        -------
        network : ConvResidualNetwork
            A new one; this one stays as it is.
        """
        weights = {
            name: resample(getattr(self, name).detach(), depth, interpolation)
            for name in STACKED
        }
        for name in MOMENTS:
            # Variances as logarithms: a line through them, continued to depth times 0
            # and 1, could be negative.
            mean, variance = getattr(self, name).unbind(1)
            least = torch.finfo(variance.dtype).tiny
            log_variance = resample(variance.clamp(least).log(), depth, interpolation)
            mean = resample(mean, depth, interpolation)
            weights[name] = torch.stack([mean, log_variance.exp()], dim=1)
        network = copy.deepcopy(self)
        network.set_weights(weights)
        return network

    def extra_repr(self):
        """Return the sizes, for the network's repr."""
        return (
            f"image_shape={self.image_shape}, n_outputs={len(self.head)}, "
            f"depth={self.depth}, channels={self.width}, "
            f"activation={self.activation!r}"
        )


def _draw_weights(init, depth, channels, n_inputs, n_outputs, generator):
    """Draw all weights, in float64."""
    shape = channels, channels, FILTER, FILTER
    gains = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    moments = gains.flip(0)
    stem = _gaussian((channels, n_inputs, STEM, STEM), generator)
    head = _gaussian((n_outputs, channels * GRID**2), generator)
    weights = {"stem": stem, "head": head, "head_bias": head.new_zeros(n_outputs)}
    weights |= {"stem_norm": gains.repeat(1, channels)}
    weights |= {"stem_moments": moments.repeat(1, channels)}
    for name in ("W", "V"):
        drawn = draw_layers(init, depth, shape, generator)
        weights[name] = drawn / sqrt(3 * channels * FILTER**2)
        gain = gains if name == "W" else 0 * gains
        weights[f"{name}_norm"] = gain.repeat(depth, 1, channels)
        weights[f"{name}_moments"] = moments.repeat(depth, 1, channels)
    return weights


def _gaussian(shape, generator):
    """Draw weights of the variance of torch's own convolutions, 1 / (3 fan-in)."""
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    return weights / sqrt(3 * weights[0].numel())
