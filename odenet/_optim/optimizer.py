"""The base of the optimizers: torch's, but without loading torch's compiler."""

import inspect

import torch


class Optimizer(torch.optim.Optimizer):
    """An optimizer of torch that does not import torch's compiler."""

    # torch wraps these methods so that their first call imports torch._dynamo: that
    # takes more than a second, many times a small fit. Nothing here is compiled.

    def add_param_group(self, param_group):
        """Add a group of parameters; see ``torch.optim.Optimizer``."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def state_dict(self):
        """Return the state; see ``torch.optim.Optimizer``."""
        return inspect.unwrap(torch.optim.Optimizer.state_dict)(self)

    def load_state_dict(self, state_dict):
        """Load a state; see ``torch.optim.Optimizer``."""
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)
