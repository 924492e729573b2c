"""Why a training ended."""

from enum import StrEnum


class StopReason(StrEnum):
    """The reason why a training ended, equal to the word in ``stop_reason_``."""

    EARLY_STOPPING = "early_stopping"  # the held-out loss has risen, or stopped falling
    HORIZON = "horizon"  # the flow time that was asked for is reached
    STATIONARY = "stationary"  # the loss does not fall any more
    MAX_EVALS = "max_evals"  # a flow has used the solver's gradients
    MAX_EPOCHS = "max_epochs"  # mini-batches have used the solver's epochs
    CALLBACK = "callback"  # a callback asked for it
    INTERRUPTED = "interrupted"  # Ctrl-C
    DIVERGED = "diverged"  # the loss is not finite, or far above its start

    @property
    def is_conclusive(self):
        """Whether the data or the horizon decided that the training is complete."""
        return self in (self.EARLY_STOPPING, self.HORIZON, self.STATIONARY)

    @property
    def is_convergence(self):
        """Whether ``converged_`` is true: training ended as it was meant to."""
        return self.is_conclusive or self is StopReason.CALLBACK

    @property
    def is_failure(self):
        """Whether the solver could not go on."""
        return self in (self.MAX_EVALS, self.DIVERGED)

    @property
    def advice(self):
        """The text of a warning for the user; None if nothing is wrong."""
        return _ADVICE.get(self)


# What happened, what became of the weights, and what the user can do.
_ADVICE = {
    StopReason.DIVERGED: "Training diverged, and the best weights met on the way were "
    "restored. Lower the solver's learning_rate, use solver='flow', or scale the data.",
    StopReason.MAX_EVALS: "Training ended at the solver's max_evals gradient "
    "evaluations. Raise max_evals, or lower flow_time.",
    StopReason.INTERRUPTED: "Training was interrupted; the estimator holds the weights "
    "reached.",
}
