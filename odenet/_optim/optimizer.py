"""The base of the optimizers: torch's, but without loading torch's compiler."""

import inspect

import torch


class Optimizer(torch.optim.Optimizer):
    """An optimizer of torch that does not import torch's compiler."""

    def add_param_group(self, param_group):
        """Add a group of parameters; see ``torch.optim.Optimizer``."""
        # torch wraps this method so that its first call imports torch._dynamo: that
        # takes more than a second, many times a small fit. Nothing here is compiled.
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)
