"""The residual network."""

import copy

import torch
from torch import nn

from odenet._network.activations import ACTIVATIONS, check_activation, increasing
from odenet._network.base import LayeredNetwork
from odenet._network.fast_layers import residual_stack
from odenet._network.layers import imitating_states, residual_states
from odenet._network.rebuilt_layers import rebuilt_stack
from odenet._network.resampling import merge_layers, resample
from odenet._utils.monotonicity import Monotonicity, reflected
from odenet._utils.sparse_rows import times, with_one
from odenet.schemes import draw_layers, draws_V

BACKWARDS = {"stored": residual_stack, "rebuilt": rebuilt_stack}

# Bounds of the state's dimension where none is asked for, both round values: states of
# few inputs get room for features besides, and those of many, as of 784 pixels, do not
# make the matrices of every layer as large as the inputs.
MIN_STATE_DIM = 16
MAX_INPUT_DIM = 128


class ResidualNetwork(LayeredNetwork):
    r"""Residual network that is a discretised neural ODE.

    For x in R^(d-1), with a constant 1 appended to it,

    .. math::
        h_0 = A (x, 1), \qquad
        h_k = h_{k-1} + \frac{1}{L^\beta \sqrt{m}}
            V_k \, \sigma(W_k h_{k-1} / \sqrt{q}), \qquad
        F(x) = B h_L,

    the model of Marion, Wu, Sander and Biau (ICLR 2024, equation 1), where the constant
    serves as the bias. At the start V = 0, unless the scheme draws it, A = (I; 0) and
    B = (0, I), so that F = 0. Where state_dim < d + n_outputs there is no room for both
    identities: their place is taken by matrices with orthonormal rows (A) and columns
    (B), still with BA = 0.

    Parameters
    ----------
    n_features : int
        Number of features, d - 1.
    n_outputs : int
        Dimension d' of the output.
    depth : int, default=64
        Number of layers L.
    width : int, default=64
        Inner width m of a residual.
    state_dim : int, default=None
        Dimension q of the state. None is min(d, 128) + d', and at least 16.
    activation : {"gelu", "tanh", "silu", "softplus", "relu", "identity"}, \
            default="gelu"
        The function :math:`\sigma`.
    init : {"tied", "gaussian_process", "iid"} or callable, default="tied"
        The weights at the start, see :mod:`odenet.schemes`.
    depth_scaling : float, default=1.0
        The exponent :math:`\beta`; 1 is the scaling of the neural ODE.
    backward : {"stored", "rebuilt"}, default="stored"
        Whether a gradient stores the states of all layers, or rebuilds them from the
        last one on the way back: slower, in memory that does not grow with depth.
    generator : torch.Generator, default=None
        Source of the draws, on the CPU. None is torch's global one.
    dtype : torch.dtype, default=torch.float32
        Type of the parameters. The draws are the same for every type.

    Attributes
    ----------
    n_models : int
        Number of networks of equal shapes that this object is. More than one have an
        axis of models in all their weights, in V and W the second, and outputs of shape
        (n_models, n, n_outputs): see :mod:`odenet._network.model_axis`.
    embedding : Parameter of shape (state_dim, n_features + 1)
        The matrix A.
    V : Parameter of shape (depth, state_dim, width)
    W : Parameter of shape (depth, width, state_dim)
    head : Parameter of shape (n_outputs, state_dim)
        The matrix B.
    imitated_depth : int, float or None
        If not None, the output is that of so many layers up to O(1/depth^2), by a
        recursion that looks ahead: how a network is trained while it is shallow. It may
        be infinite, which is the neural ODE.
    n_embedded : int
        Number of inputs, the last ones, that embed numbers of a table, such as shares
        of bins; 0 unless an estimator made the network.

    Examples
    --------
    >>> import torch
    >>> from odenet import ResidualNetwork
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = ResidualNetwork(3, 1, depth=8, generator=generator)
    >>> network(torch.ones(5, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        n_features,
        n_outputs,
        *,
        depth=64,
        width=64,
        state_dim=None,
        activation="gelu",
        init="tied",
        depth_scaling=1.0,
        backward="stored",
        generator=None,
        dtype=torch.float32,
    ):
        super().__init__()
        self.activation = check_activation(activation)
        if backward not in BACKWARDS:
            raise ValueError(
                f"`backward` must be one of {sorted(BACKWARDS)}, got {backward!r}."
            )
        if state_dim is None:
            state_dim = default_state_dim(n_features, n_outputs)
        self.depth_scaling = depth_scaling
        self.backward = backward
        self.imitated_depth = None
        V, W = _draw_layers(init, depth, state_dim, width, generator)
        A, B = _draw_embedding_and_head(n_features + 1, n_outputs, state_dim, generator)
        self.embedding = nn.Parameter(A.to(dtype))
        self.V = nn.Parameter(V.to(dtype))
        self.W = nn.Parameter(W.to(dtype))
        self.head = nn.Parameter(B.to(dtype))

    @classmethod
    def from_weights(
        cls,
        weights,
        activation,
        depth_scaling=1.0,
        backward="stored",
        imitated_depth=None,
        monotonicity=None,
        n_embedded=0,
    ):
        """Make a network of given weights, a dict of arrays as in ``state_dict``.

        Parameters
        ----------
        weights : dict of str to ndarray
            Their dtype and shapes are those of the network.
        activation, depth_scaling, backward, imitated_depth, monotonicity, n_embedded
            What ``settings`` returns, see :class:`ResidualNetwork`.

        Returns
        -------
        network : ResidualNetwork
        """
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network.activation = activation
        network.depth_scaling = depth_scaling
        network.backward = backward
        network.imitated_depth = imitated_depth
        network.n_embedded = n_embedded
        for name in ("embedding", "V", "W", "head"):
            setattr(network, name, nn.Parameter(torch.tensor(weights[name])))
        if n_embedded >= network.embedding.shape[-1]:
            raise ValueError(f"{n_embedded} embedded inputs are more than there are.")
        if monotonicity is not None:
            network.confine(Monotonicity(*monotonicity))
            confined = network.state_dict()
            if any((confined[n].numpy() != weights[n]).any() for n in confined):
                raise ValueError("Some weights of a monotone network have wrong signs.")
        return network

    def settings(self):
        """Return what ``from_weights`` needs besides the weights, as a dict."""
        settings = {
            "activation": self.activation,
            "depth_scaling": self.depth_scaling,
            "backward": self.backward,
            "imitated_depth": self.imitated_depth,
        }
        if self.monotonicity is not None:
            settings["monotonicity"] = self.monotonicity.as_tuple()
        if self.n_embedded:
            settings["n_embedded"] = self.n_embedded
        return settings

    @torch.no_grad()
    def confine(self, monotonicity):
        """Make the outputs monotone: change signs of weights where they are wrong."""
        shapes = self.embedding.shape[-1] - 1, self.state_dim, self.width
        parts = monotonicity.as_tuple()
        if shapes != tuple(map(len, parts)):
            raise ValueError(
                f"The parts of a monotone network must have lengths {shapes}, got "
                f"{tuple(map(len, parts))}."
            )
        self.activation = increasing(self.activation)
        self.monotonicity = monotonicity
        for name, bounds in monotonicity.cone(self.V).items():
            p = getattr(self, name)
            p.copy_(reflected(p, bounds))

    @property
    def has_models_axis(self):
        """Whether this is several networks, see ``model_axis.join_networks``."""
        return self.V.dim() == 4

    @property
    def n_models(self):
        """Number of networks along the axis of models; 1 without that axis."""
        return self.V.shape[1] if self.has_models_axis else 1

    @property
    def state_dim(self):
        """Dimension q of the state."""
        return self.V.shape[-2]

    @property
    def width(self):
        """Inner width m of a residual."""
        return self.V.shape[-1]

    def forward(self, x):
        """Return the output F(x), shape (n, n_outputs), for x (n, n_features)."""
        return self.last_state(x) @ self.head.mT

    def last_state(self, x):
        """Return the last state h_L, shape (n, state_dim)."""
        if self.imitated_depth is not None:
            return residual_stack(self.embed(x), *self.layers(), self.imitated_depth)
        return BACKWARDS[self.backward](self.embed(x), *self.layers())

    def hidden_states(self, x):
        """Return all states h_0, ..., h_L, shape (depth + 1, n, state_dim)."""
        h, layers = self.embed(x), self.layers()
        if self.imitated_depth is None:
            return torch.stack(residual_states(h, *layers))
        return torch.stack(imitating_states(h, *layers, self.imitated_depth))

    def embed(self, x):
        """Return the first state h_0 = A (x, 1), shape (n, state_dim)."""
        return times(with_one(x), self.embedding)

    def layers(self):
        """Return V, W, the activation and the factor of a residual, for a stack."""
        scale = len(self.V) ** -self.depth_scaling
        return self.V, self.W, ACTIVATIONS[self.activation], scale

    def parameter_groups(self):
        """Return the parameters with the rates of the gradient flow.

        They are 1 for A and B and L for V and W: the gradient of one layer is O(1/L),
        and the rate L gives all depths the same flow (Marion, Wu, Sander and Biau,
        ICLR 2024, equation 4). The first matrix of the ends is A, whose columns belong
        to inputs: ``n_embedded`` of these, before the constant, embed numbers.
        """
        ends = {"params": [self.embedding, self.head], "lr": 1.0, "inputs_at": 0}
        ends["n_embedded"] = self.n_embedded
        layers = {"params": [self.V, self.W], "lr": float(self.depth)}
        layers["has_depth"] = True
        if self.has_models_axis:
            ends["models_axis"], layers["models_axis"] = 0, 1
        return [ends, layers]

    def with_depth(self, depth, interpolation="linear", *, imitate=False, merge=False):
        """Return the network of another depth that samples the same weights in depth.

        Its output differs by O(1/L) of the smaller depth, for weights that are smooth
        in depth.

        Parameters
        ----------
        depth : int
            Number of layers L' of the new network, larger or smaller.
        interpolation : {"linear", "constant"}, default="linear"
            "linear" is piecewise linear through the layers' depth times
            :math:`s = (k - 1/2)/L`, with an error of the weights of O(1/L^2);
            "constant" is piecewise constant on :math:`[(k-1)/L, k/L)`, as in Marion,
            Wu, Sander and Biau (ICLR 2024, section 2), with an error of O(1/L).
        imitate : bool, default=False
            Whether the new network is to have this one's output up to O(1/L'^2),
            by looking ahead (see ``imitated_depth``).
        merge : bool, default=False
            Whether neighbouring layers become one that is as wide as all of them, and
            none is left out. Then the output differs by O(1/L') for layers of any
            start, independent ones included.

        Returns
        -------
        network : ResidualNetwork
            A new one; this one stays as it is.

        Raises
        ------
        ValueError
            If the depth is no positive integer, or the interpolation unknown; if layers
            are to be merged that imitate more, into more layers, or with ``imitate``.

        Examples
        --------
        >>> import torch
        >>> from odenet import ResidualNetwork
        >>> network = ResidualNetwork(2, 1, depth=16).with_depth(24)
        >>> network.depth, network(torch.ones(3, 2)).shape
        (24, torch.Size([3, 1]))
        """
        network = copy.deepcopy(self)
        if merge:
            network._merge(depth, imitate)
            return network
        network.resample_(depth, interpolation)
        imitated_depth = self.imitated_depth or self.depth
        if imitate and depth > imitated_depth and self.monotonicity is not None:
            raise ValueError(
                f"`depth` must be at most {imitated_depth} for a monotone network that "
                f"imitates so many layers, got {depth}: more layers look back, and are "
                "not monotone. Use imitate=False."
            )
        if imitate and depth != imitated_depth:
            network.imitated_depth = imitated_depth
        return network

    @torch.no_grad()
    def resample_(self, depth, interpolation="linear"):
        """Change the depth in place; the parameters stay the same objects."""
        V, W = (resample(p, depth, interpolation) for p in (self.V, self.W))
        # The velocity of the ODE is that of the layers times L^(1 - beta). It stays as
        # it is where V takes up the change of L.
        factor = (depth / self.depth) ** (self.depth_scaling - 1)
        self.set_weights({"V": V * factor, "W": W})
        self.imitated_depth = None

    @torch.no_grad()
    def _merge(self, depth, imitate):
        """Merge neighbouring layers in place, into a number of wider ones."""
        if imitate or self.imitated_depth is not None:
            raise ValueError(
                "`merge` is for the layers themselves: it takes none that imitate more "
                "layers, and no `imitate`."
            )
        V, W = merge_layers(self.V, self.W, depth)
        if self.monotonicity is not None:
            n_layers = W.shape[-2] // self.width
            self.monotonicity = self.monotonicity.merged(n_layers)
        factor = (depth / self.depth) ** self.depth_scaling
        self.set_weights({"V": V * factor, "W": W})

    def extra_repr(self):
        """Return the sizes, for the network's repr."""
        return (
            f"n_features={self.embedding.shape[-1] - 1}, "
            f"n_outputs={self.head.shape[-2]}, depth={self.depth}, width={self.width}, "
            f"state_dim={self.state_dim}, activation={self.activation!r}"
        )


def default_state_dim(n_features, n_outputs):
    """Return min(d, 128) + d', where d counts the constant 1, and at least 16."""
    return max(min(n_features + 1, MAX_INPUT_DIM) + n_outputs, MIN_STATE_DIM)


def _draw_layers(init, depth, state_dim, width, generator):
    """Draw V and W, in float64; W first, which is then the same with and without V."""
    W = draw_layers(init, depth, (width, state_dim), generator)
    if draws_V(init):
        return draw_layers(init, depth, (state_dim, width), generator), W
    return torch.zeros(depth, state_dim, width, dtype=torch.float64), W


def _draw_embedding_and_head(d, n_outputs, state_dim, generator):
    """Draw A and B with BA = 0: the head reads the last coordinates of the state.

    At least one coordinate is left to the embedding, however short the room.
    """
    n_read = min(n_outputs, state_dim - 1)
    n_written = state_dim - n_read
    A = torch.zeros(state_dim, d, dtype=torch.float64)
    B = torch.zeros(n_outputs, state_dim, dtype=torch.float64)
    A[: min(d, n_written)] = _orthonormal(d, n_written, generator).T
    B[:, n_written:] = _orthonormal(n_outputs, n_read, generator)
    return A, B


def _orthonormal(n_rows, n_columns, generator):
    """Return the identity if there is room, else draw orthonormal columns."""
    if n_rows <= n_columns:
        return torch.eye(n_rows, dtype=torch.float64)
    gaussian = torch.randn(n_rows, n_columns, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q
