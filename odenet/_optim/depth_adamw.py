"""Adam for weights that are functions of depth."""

import torch

from odenet._optim.optimizer import Optimizer


class DepthAdamW(Optimizer):
    r"""AdamW with one second moment for all layers.

    Adam divides the gradient of every weight by its running size. If every layer had a
    size of its own, the step would be almost the sign of the gradient: it would jump in
    depth where the gradient, a smooth function of depth, passes through zero. With the
    mean size over depth, the step is a multiple of the momentum, and so it is as smooth
    in depth as that is,

    .. math::
        v \leftarrow \beta_2 v + (1 - \beta_2) \frac1L \sum_k g_k^2, \qquad
        \max_k \|\Delta Z_{k+1} - \Delta Z_k\|
        \le \frac{\eta}{\sqrt{\min v}} \max_k \|\bar g_{k+1} - \bar g_k\|,

    with :math:`g_k = L\, \partial \ell / \partial Z_k`, which tends to a function of
    depth as L grows, and :math:`\bar g` its running mean. Steps that tend to 0 follow
    the mean of these moves at fixed weights. On mini-batches that is a gradient flow
    with a preconditioner that is the same at all depths, up to 1.6 %
    (``benchmarks/paper/small_steps.py``).

    Parameters
    ----------
    groups : iterable of dict
        The groups of ``ResidualNetwork.parameter_groups``. Gradients must have been
        multiplied by the rates of these groups.
    learning_rate : float
        Length of a step, for weights of every kind and depth.
    betas : tuple of float, default=(0.9, 0.95)
        Decay of the running means of the gradient and of its square.
    eps : float, default=1e-8
        A number added to the size, against division by zero.
    weight_decay : float, default=0.0
        A step shrinks the weights by ``learning_rate * weight_decay``. A group may have
        a decay of its own, and ``embedded_decay`` besides: that of the columns of A
        whose inputs embed numbers.
    """

    def __init__(
        self, groups, learning_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0
    ):
        defaults = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
        groups = [{**group, "lr": learning_rate} for group in groups]
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure):
        """Take one step, and return the objective where it started."""
        with torch.enable_grad():
            objective = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:  # as of one that is frozen
                    _shrink(p, group)
                    self.move(p, group)
        return objective

    def move(self, p, group):
        """Move one parameter by its running means, and update these by its gradient."""
        adam_step(p, p.grad, self.state[p], group)


def meets_inputs(p, group):
    """Tell whether a parameter is the matrix whose columns belong to inputs."""
    place = group.get("inputs_at")
    return place is not None and p is group["params"][place]


def _shrink(p, group):
    """Let a parameter decay, as its group says."""
    rate = group["lr"]
    if group["weight_decay"]:
        p.mul_(1 - rate * group["weight_decay"])
    if "embedded_decay" in group and meets_inputs(p, group):
        embedded = slice(-1 - group["n_embedded"], -1)  # before that of the constant
        p[..., embedded].mul_(1 - rate * group["embedded_decay"])


def adam_step(p, gradient, state, group):
    """Move a tensor by the running means of its gradient, which the state keeps.

    Parameters
    ----------
    p, gradient : Tensor
    state : dict
        Empty before the first step.
    group : dict
        "lr", "betas" and "eps" as of :class:`DepthAdamW`, and whether it "has_depth".
    """
    gradient_square = gradient.square()
    if group.get("has_depth"):
        gradient_square = gradient_square.mean(dim=0)
    if not state:
        state["n_steps"] = 0
        state["mean"] = torch.zeros_like(p)
        state["size"] = torch.zeros_like(gradient_square)
    state["n_steps"] += 1
    momentum, decay = group["betas"]
    state["mean"].lerp_(gradient, 1 - momentum)
    state["size"].lerp_(gradient_square, 1 - decay)
    n_steps = state["n_steps"]
    scale = (state["size"] / (1 - decay**n_steps)).sqrt_().add_(group["eps"])
    p.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - momentum**n_steps))
