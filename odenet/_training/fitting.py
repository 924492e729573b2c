"""One fit: a training, and the one that follows where it has chosen a flow time."""

import copy
from math import inf
from time import perf_counter

from odenet._training.depth.along_flow import DepthSchedule
from odenet._training.depth.in_stages import CoarseToFine
from odenet._training.net import Progress
from odenet._training.stopping import Monitor

UNJUDGED_FLOW_TIME = 100.0  # horizon where no validation loss says when to stop
WARNINGS = {
    "diverged": "Training diverged, and the best weights met on the way were restored. "
    "Lower the solver's learning_rate, use solver='flow', or scale the data.",
    "max_evals": "Training ended at the solver's max_evals gradient evaluations. Raise "
    "max_evals, or lower flow_time.",
    "interrupted": "Training was interrupted; the estimator holds the weights reached.",
}


class Fitting:
    """Trains the network of an estimator, which is changed in place.

    Parameters
    ----------
    estimator : BaseResODE
    solver : Solver
    fitted : dict
        The network and the standardisation.
    depths : list of int
        The depths to train at, in ascending order.
    past : Progress, default=None
        Of an earlier fit that is continued, at the network's own depth.
    generator : torch.Generator, default=None
        Of the order of mini-batches.
    observer : skorch callback, default=None
    """

    def __init__(
        self,
        estimator,
        solver,
        fitted,
        depths,
        past=None,
        generator=None,
        observer=None,
    ):
        self.estimator = estimator
        self.solver = solver
        self.fitted = fitted
        self.depths = depths
        self.past = past
        self.generator = generator
        self.observer = observer
        self.began = perf_counter()
        self.depth_path = [] if past is None else list(estimator.depth_path_)

    def run(self, samples, train, validation):
        """Train on a part of the samples, then perhaps on all: the last net.

        Parameters
        ----------
        samples : Samples
        train : Samples or None
            Those that are not held out; None where none are.
        validation : Samples or None
        """
        chooses = validation is not None and self.estimator.early_stopping is not False
        start = copy.deepcopy(self.fitted["module_"].state_dict())
        net = self._train(
            samples if train is None else train,
            validation,
            self.past,
            self._horizon(chooses),
            early_stopping=chooses,
            only_chooses=chooses and self.solver.batch_size is None,
        )
        again = train is not None or len(self.depths) > 1
        if again and net.has_chosen_flow_time:
            net = self._follow_to_the_chosen_time(samples, net, start)
        net.monitor.schedule = None  # it holds the weights of the start
        return net

    def sweep(self, samples, horizon, **settings):
        """Train for what is seen on the way."""
        return self._train(samples, None, None, horizon, only_chooses=True, **settings)

    def _horizon(self, chooses):
        """Flow time at which to stop; mini-batches have none."""
        if self.solver.batch_size is not None:
            return inf
        if self.estimator.flow_time is not None:
            return self.estimator.flow_time
        longest = self.estimator._longest_flow_time if chooses else UNJUDGED_FLOW_TIME
        return longest + self._flow_time_before()

    def _flow_time_before(self):
        return (self.past.flow_time or 0.0) if self.past is not None else 0.0

    def _train(
        self,
        train,
        validation,
        past,
        horizon,
        *,
        early_stopping=False,
        only_chooses=False,
        **settings,
    ):
        schedule = self._schedule(only_chooses)
        net = self.estimator._make_net(
            self.fitted["module_"],
            solver=self.solver,
            generator=self.generator,
            monitor=Monitor(early_stopping, schedule),
            horizon=horizon,
            **settings,
        )
        if past is not None:
            net.resume(past)
        with net.observed_by(self.observer):
            self.estimator._train(net, train, validation)
        if schedule is not None:
            self.depth_path += schedule.path
        return net

    def _schedule(self, only_chooses):
        """The path through the depths; None where the network is to stay as it is."""
        if self.past is not None and len(self.depths) == 1:
            return None
        estimator = self.estimator
        walk = DepthSchedule if self.solver.batch_size is None else CoarseToFine
        return walk(
            self.depths,
            gap_tol=estimator.gap_tol if estimator.depth == "auto" else None,
            only_chooses=only_chooses,
            began=self.began,
        )

    def _follow_to_the_chosen_time(self, samples, chooser, start):
        """Follow the flow from the start again, on all samples."""
        history, module = list(chooser.history), self.fitted["module_"]
        for row in history[len(self.past.history) if self.past else 0 :]:
            row["role"] = "choose"
        chosen = copy.deepcopy(module.state_dict())
        module.set_weights(start)
        module.imitated_depth = None
        progress = Progress(history, self._flow_time_before(), chooser.n_grad_evals)
        watching = [c for c in self.estimator.callbacks or [] if _only_watches(c)]
        net = self._train(
            samples, None, progress, chooser.flow_time, callbacks=watching
        )
        if net.stop_reason == "horizon":
            net.stop_reason = chooser.stop_reason
        elif net.stop_reason in WARNINGS:
            if net.monitor.schedule is not None:
                chosen = net.monitor.schedule.weights_at(chosen, module.depth)
            module.set_weights(chosen)
            net.monitor.flow_time = chooser.flow_time
        return net


def _only_watches(callback):
    """Whether a callback, of the user's, can leave no trace in a training."""
    return getattr(callback, "only_watches", False)
