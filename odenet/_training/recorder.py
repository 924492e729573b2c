"""Keeps the state of the trainings of a fit, so that another process can go on."""

from collections import deque
from time import perf_counter

from odenet._distributed.group import ALONE
from odenet._training.snapshot import restore, state_of
from odenet._training.stop_reason import StopReason

# The seconds from one record to the next, and the least share of the time that is not
# spent on recording: a choice. What a fit that is killed loses is this and one epoch.
SECONDS_BETWEEN, TIMES_A_RECORD = 10.0, 100.0


class Recorder:
    """The trainings of one fit, in their order, with the state of each.

    Those that have ended are recalled by a fit that goes on; the one that was under way
    continues from its last record.

    Parameters
    ----------
    records : list of dict
        What an earlier process has written: the states of trainings that have ended,
        and that of the next one.
    write : callable
        ``write(records)`` keeps them where they outlive the process.
    group : Alone, default=ALONE
        The processes of the fit, which record at the same epochs.
    """

    def __init__(self, records, write, group=ALONE):
        self.group = group
        self.left = deque(records)
        self.write = write
        self.ended, self.under_way = [], None
        self.due = perf_counter() + SECONDS_BETWEEN

    def recall(self, net):
        """Give a net the end of its training, if there is a record of it.

        Otherwise keep what there is of it for :meth:`resume`.

        Returns
        -------
        has_ended : bool
        """
        self.under_way = self.left.popleft() if self.left else None
        if self.under_way is None or self.under_way["stop_reason"] is None:
            return False
        restore(net, self.under_way)
        self.ended.append(self.under_way)
        return True

    def resume(self, net, held_out=None):
        """Let a training that has just begun go on from its last record, if any.

        Parameters
        ----------
        net : TrainingNet
        held_out : Samples, default=None
            The samples that judge it.

        Returns
        -------
        n_epochs : int
            The epochs that are left.
        """
        n_before = len(net.history)
        if self.under_way is not None:
            restore(net, self.under_way, held_out)
            self.under_way = None
        return net.max_epochs - (len(net.history) - n_before)

    def see_epoch(self, net):
        """Record a training that goes on, if the time has come."""
        if self.group.from_first(perf_counter() >= self.due):
            self._record(net)

    def see_end(self, net):
        """Record a training that has ended by itself: by Ctrl-C it has not."""
        if net.stop_reason is not StopReason.INTERRUPTED:
            self.ended.append(state_of(net))

    def _record(self, net):
        """Write all states, and rest in proportion to the seconds that it took."""
        began = perf_counter()
        self.write([*self.ended, state_of(net)])
        seconds = perf_counter() - began
        self.due = perf_counter() + max(SECONDS_BETWEEN, TIMES_A_RECORD * seconds)
