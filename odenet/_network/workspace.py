"""The residual stack in buffers that are used again: forward, and backward by hand.

A deep and thin network spends its time between the matrix products: on calls, and on
fresh memory, whose pages the system must supply. So the buffers of one gradient, and
all views of them, are kept for the next; and the gradients of the weights are batched
matrix products, of a block of layers each.
"""

from math import sqrt

import torch

from odenet._network.activations import elementwise
from odenet._network.scratch import current_scratch

# Layers whose weights' gradients are one batched product. For blocks of 1, 4, 8, 16,
# 32 and 64, a gradient of 100 samples and 64 layers of q = 16, m = 32 took 3.3, 2.3,
# 2.3, 2.2, 2.1 and 2.2 ms, of q = m = 64 it took 9.0, 7.7, 7.0, 7.4, 7.7 and 7.8 ms
# (float32, one thread): any block of several layers will do, a small one needs less
# memory.
BLOCK = 16
# Workspaces of a thread that wait for the next gradient: a round value. Their bytes are
# what bounds them in earnest; this number only ends the search among tiny ones.
MAX_KEPT = 16
MAX_KEPT_BYTES = 2**30  # of all of them: a round value, a share of a laptop's memory


class Workspace:
    """Buffers for one gradient of a stack, of fixed shapes.

    With an axis of models, of as many stacks at once. A layer is evaluated at its
    point: the state before it, or one ahead of that, where layers imitate more of them
    (:func:`odenet._network.layers.imitating_states`).

    Parameters
    ----------
    h : Tensor of shape (n, q) or (n_models, n, q)
    V : Tensor of shape (depth, q, m) or (depth, n_models, q, m)
    """

    def __init__(self, h, V):
        *models, n, q = h.shape
        depth, m = len(V), V.shape[-1]

        def buffer(count, *shape):
            return torch.empty(count, *models, *shape, dtype=h.dtype, device=h.device)

        self.fits, self.n_bytes = _shapes(h, V), _n_bytes(h, V)
        self.depth, self.block = depth, min(BLOCK, depth)
        self.V, self.W = buffer(depth, m, q), buffer(depth, q, m)
        # The last of these is for the first layer's evaluation at h_0, which happens
        # where layers look ahead.
        self.points = buffer(depth + 1, n, q)
        self.z, self.a = buffer(depth + 1, n, m), buffer(depth + 1, n, m)
        self.states = buffer(2, n, q).unbind()
        self.g, self.dz = buffer(self.block + 1, n, q), buffer(self.block, n, m)
        (self.da,) = buffer(1, n, m)
        self.multiply, self.add_product = (
            (torch.bmm, torch.baddbmm) if models else (torch.mm, torch.addmm)
        )
        self._make_views()

    def _make_views(self):
        """Make all views of the buffers once: a view costs half a matrix product."""
        self.point_of, self.z_of, self.a_of = (
            t.unbind() for t in (self.points, self.z, self.a)
        )
        self.V_of, self.W_of = self.V.unbind(), self.W.unbind()
        self.VT_of, self.WT_of = self.V.mT.unbind(), self.W.mT.unbind()
        self.g_of, self.dz_of = self.g.unbind(), self.dz.unbind()
        self.flat_z, self.flat_a, self.flat_dz = (
            [elementwise(t) for t in views]
            for views in (self.z_of, self.a_of, self.dz_of)
        )
        self.flat_da = elementwise(self.da)

    def forward(self, h, V, W, activation, scale, ahead):
        """Return the last state, in memory of its own, and keep what backward needs."""
        *_, q, m = V.shape
        torch.mul(V.mT, scale / sqrt(m), out=self.V)
        torch.mul(W.mT, 1 / sqrt(q), out=self.W)
        self.activation, self.scale, self.ahead = activation, scale, ahead
        return self._forward_ahead(h) if ahead else self._forward(h)

    def _forward(self, h):
        """Evaluate every layer at the state before it, which is its point."""
        write, multiply, add_product = self._operations()
        # The last state is handed out: it must not lie in memory that is used again.
        points = (*self.point_of[:-1], torch.empty_like(self.points[0]))
        points[0].copy_(h)
        for k in range(self.depth):
            multiply(points[k], self.W_of[k], out=self.z_of[k])
            write(self.flat_z[k], self.flat_a[k])
            add_product(points[k], self.a_of[k], self.V_of[k], out=points[k + 1])
        return points[-1]

    def _forward_ahead(self, h):
        """Evaluate every layer at a point ahead, two states being enough for it.

        Step -1 evaluates the first layer at h_0, along whose velocity it looks ahead;
        its index lets the views of that step be the last ones.
        """
        write, multiply, add_product = self._operations()
        state, after = self.states
        state.copy_(h)
        self.point_of[-1].copy_(h)
        for k in range(-1, self.depth):
            layer = max(k, 0)
            multiply(self.point_of[k], self.W_of[layer], out=self.z_of[k])
            write(self.flat_z[k], self.flat_a[k])
            add_product(state, self.a_of[k], self.V_of[layer], out=after)
            if k < 0:
                torch.lerp(state, after, self.ahead, out=self.point_of[0])
                continue
            if k + 1 < self.depth:
                torch.lerp(state, after, 1 + self.ahead, out=self.point_of[k + 1])
            state, after = after, state
        return state.clone()

    def _operations(self):
        """Return the functions of a layer, to be looked up once and not per layer."""
        return self.activation.write, self.multiply, self.add_product

    def backward(self, g, out=None):
        r"""Return the gradients of h, V and W, for the gradient g of the last state.

        Those of V and W are written into the two tensors ``out``, if they are given.

        With r_k the residual of layer k, evaluated at :math:`p_k = h_{k-1} + c\,
        r_{k-1}`, the gradients obey :math:`dh_{k-1} = dh_k + dp_k` and
        :math:`dr_{k-1} = dh_k + (1 + c)\,dp_k`. For c = 0 both are the same.
        """
        grad_V, grad_W = out or (t.new_empty(t.mT.shape) for t in (self.V, self.W))
        dh = g.clone() if self.ahead else None
        for end in range(self.depth, 0, -self.block):
            layers = slice(max(0, end - self.block), end)
            g = self._pull_back(g, dh, layers)
            self._write_weight_gradients(layers, grad_V[layers], grad_W[layers])
        if self.ahead:
            g = self._pull_back_start(g - dh, dh, grad_V[0], grad_W[0])
        else:
            g = g.clone()
        *_, q, m = grad_V.shape
        grad_V.mul_(self.scale / sqrt(m))
        grad_W.div_(sqrt(q))
        return g, grad_V, grad_W

    def _pull_back(self, g, dh, layers):
        """Return the gradient before these layers; leave those inside in g and dz."""
        top, pull_back = layers.stop - layers.start - 1, self.activation.pull_back
        self.g_of[top].copy_(g)
        for j in range(top, -1, -1):
            k, g = layers.start + j, self.g_of[j]
            self.multiply(g, self.VT_of[k], out=self.da)
            pull_back(self.flat_da, self.flat_z[k], self.flat_a[k], self.flat_dz[j])
            factors, before = (self.dz_of[j], self.WT_of[k]), self.g_of[j - 1]
            if dh is None:
                self.add_product(g, *factors, out=before)
            else:
                dp = self.states[0]
                self.multiply(*factors, out=dp)
                torch.add(dh, dp, alpha=1 + self.ahead, out=before)
                dh.add_(dp)
        return self.g_of[-1]

    def _write_weight_gradients(self, layers, grad_V, grad_W):
        """Write the gradients of some layers' weights, one batched product for each."""
        n_layers = layers.stop - layers.start
        for left, right, out in (
            (self.g[:n_layers], self.a[layers], grad_V),
            (self.dz[:n_layers], self.points[layers], grad_W),
        ):
            left, right, out = (t.flatten(0, -3) for t in (left, right, out))
            torch.bmm(left.mT, right, out=out)

    def _pull_back_start(self, g, dh, grad_V, grad_W):
        """Return the gradient of h_0, through the evaluation there as well.

        The first layer looks ahead along its velocity at h_0, which adds to the
        gradients of its weights.
        """
        self.multiply(g, self.VT_of[0], out=self.da)
        flat = self.flat_da, self.flat_z[-1], self.flat_a[-1], self.flat_dz[0]
        self.activation.pull_back(*flat)
        dz = self.dz_of[0]
        self.add_product(grad_V, g.mT, self.a_of[-1], out=grad_V)
        self.add_product(grad_W, dz.mT, self.point_of[-1], out=grad_W)
        return self.add_product(dh, dz, self.WT_of[0])


def take_workspace(h, V):
    """Return a workspace that fits: one that was given back, else a new one."""
    waiting = current_scratch().workspaces
    for workspace in waiting:
        if workspace.fits == _shapes(h, V):
            waiting.remove(workspace)
            return workspace
    return Workspace(h, V)


def give_back(workspace):
    """Keep a workspace for the next gradient, and drop the oldest beyond the bounds.

    Not on other devices than the CPU: their allocators keep memory themselves, and
    their streams could still be using it.
    """
    if workspace.points.device.type != "cpu":
        return
    waiting = current_scratch().workspaces
    waiting.append(workspace)
    while len(waiting) > MAX_KEPT or sum(w.n_bytes for w in waiting) > MAX_KEPT_BYTES:
        del waiting[0]


def is_worth_keeping(h, V):
    """Tell whether a workspace is small enough to wait for the next gradient."""
    return _n_bytes(h, V) <= MAX_KEPT_BYTES


def _n_bytes(h, V):
    """Count the bytes of the buffers that grow with depth times samples."""
    *_, q, m = V.shape
    return (len(V) + 1) * h[..., 0].numel() * (q + 2 * m) * h.element_size()


def _shapes(h, V):
    """Return what a workspace and a gradient must agree in."""
    return h.shape, V.shape, h.dtype, h.device
