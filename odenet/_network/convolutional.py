"""The residual network of images: its layers are convolutions."""

import copy
from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch import nn

from odenet._network.activations import ACTIVATIONS, check_activation
from odenet._network.base import LayeredNetwork
from odenet._network.fast_layers import is_ordinary
from odenet._network.resampling import resample
from odenet.schemes import draw_layers

# Sizes of the network in the paper (Marion, Wu, Sander and Biau, section 5.2).
STEM, STRIDE = 5, 3  # size and stride of the first convolution
FILTER = 3  # size of the filters of a layer
GRID = 2  # the last maps are averaged over a grid of so many times as many cells
MOMENTUM, EPS = 0.1, 1e-5  # of the normalisations, torch's defaults
STACKED = ("V", "W", "V_norm", "W_norm")
MOMENTS = ("V_moments", "W_moments")
# Entries of the states that go through the layers at once in float64, so that they and
# their shifted copies stay in a cache. For about 2^14, 2^15, 2^16, 2^17 and 2^19
# entries, 256 images of 32 x 32 pixels took 32 layers of 16 channels 920, 814, 751,
# 1005 and 1426 ms (one thread); 24 layers of 8 channels were best at 2^16, too.
CACHED = 2**16


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
        if not all_states and self._is_by_products(h):
            return [self._run_by_products(h)]
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

    def _is_by_products(self, h):
        """Tell whether torch's convolution is slow, and nobody must see inside.

        On the CPU oneDNN computes torch's convolutions, and it knows no float64. Of
        gradients the products save little: `python benchmarks/image_seconds.py`.
        """
        is_slow = h.dtype == torch.float64 and h.device.type == "cpu"
        is_alone = not self.training and not torch.is_grad_enabled()
        return is_slow and is_alone and is_ordinary(h, self.V)

    def _run_by_products(self, h):
        """Return the last state in evaluation, up to rounding, by matrix products."""
        layers = zip(
            *_folded(self.W, self.W_norm, self.W_moments),
            *_folded(self.V, self.V_norm / self.depth, self.V_moments),
            strict=True,
        )
        layers, activation = list(layers), ACTIVATIONS[self.activation]
        parts = h.split(max(1, CACHED // self.state_dim))
        return torch.cat([_run_part(part, layers, activation) for part in parts])

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


def _folded(filters, norm, moments):
    """Return the filters with the normalisation after them, and what it adds to maps.

    The filters are a list over layers of three matrices (channels, 3 * channels): the
    upper, middle and lower rows, which multiply maps that :func:`_shifts` stacks.
    """
    (gain, shift), (mean, variance) = norm.unbind(1), moments.unbind(1)
    factor = gain / (variance + EPS).sqrt()
    filters = filters * factor[:, :, None, None, None]
    summand = shift - mean * factor
    matrices = [rows.unbind() for rows in filters.permute(0, 3, 1, 4, 2).flatten(3)]
    return matrices, summand[..., None, None, None]


def _run_part(h, layers, activation):
    """Return the last state of some samples, shape (n, channels, height, width).

    Inside, the samples are the innermost axis: maps are shifted in long runs, and one
    product is for all samples, where torch has small ones for each. Of few samples the
    views would take longer than the products: they are made once.
    """
    h = h.permute(1, 2, 3, 0).clone(memory_format=torch.contiguous_format)
    z, a, shifted = (h.new_zeros(shape) for shape in (h.shape, h.shape, (3, *h.shape)))
    shift_h, shift_a = (_shifts(t, shifted) for t in (h, a))
    *_, width, n = h.shape
    into_h, into_z = (_by_filter_rows(t.flatten(1), width * n)[::-1] for t in (h, z))
    sources = _by_filter_rows(shifted.flatten(2).flatten(0, 1), width * n)
    for W, W_summand, V, V_summand in layers:
        _copy(shift_h)
        z.copy_(W_summand)
        _add_products(into_z, W, sources)
        activation.write(z, a)
        _copy(shift_a)
        h.add_(V_summand)
        _add_products(into_h, V, sources)
    return h.permute(3, 0, 1, 2)


def _shifts(h, shifted):
    """Pair views, by which maps are copied a pixel to the right, as is, to the left.

    The columns that come in at the edges are zeros from the start.
    """
    right, same, left = shifted
    return (
        (right[:, :, 1:], h[:, :, :-1]),
        (same, h),
        (left[:, :, :-1], h[:, :, 1:]),
    )


def _copy(pairs):
    """Copy the second of each pair of tensors into the first."""
    for into, values in pairs:
        into.copy_(values)


def _by_filter_rows(maps, row):
    """Return the entries of maps that the upper, middle and lower row of filters read.

    A row of maps, of all samples, has so many entries. What the upper row of a filter
    reads is written a row lower: the views of reading, in reverse, are those of
    writing. What would leave the maps is not computed.
    """
    return maps[:, : maps.shape[1] - row], maps, maps[:, row:]


def _add_products(into, filters, sources):
    """Add the products of the rows of filters with what they read."""
    for maps, matrix, source in zip(into, filters, sources, strict=True):
        maps.addmm_(matrix, source)


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
