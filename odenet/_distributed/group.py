"""The processes that make one fit together, and what they tell each other.

Each process, a rank, has rows of its own. All that a fit learns of its rows goes
through the few methods of a group: sums, extremes, small sets, and an exchange in which
every row moves to the one rank that keeps it. :class:`Alone` is the group of a single
process, which has nobody to ask: so a fit is written once, for all numbers of ranks.
"""

import pickle
from binascii import crc32
from contextlib import contextmanager, suppress
from datetime import timedelta
from traceback import clear_frames
from weakref import ref

import numpy as np
import torch
import torch.distributed as dist


class RankError(RuntimeError):
    """Says that a fit of several processes has ended because of another one."""


class Alone:
    """The group of a single process.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0 on, and the number of all.
    """

    rank, size = 0, 1

    def sum(self, value):
        """Return the sum of the values of all ranks; here the value itself."""
        return value

    def max(self, value):
        """Return the largest of the values of all ranks, entry by entry."""
        return value

    def min(self, value):
        """Return the least of the values of all ranks, entry by entry."""
        return value

    def before(self, value):
        """Return the sum of the values of the ranks before this one."""
        return 0 * value

    def collect(self, value):
        """Return the small values of all ranks in a list, in their order."""
        return [value]

    def concat(self, array):
        """Return the arrays or tensors of all ranks, joined along their first axis.

        It is for what is small, or bounded: all ranks hold all of it then.
        """
        return array

    def from_first(self, value):
        """Return the value that the first rank has."""
        return value

    def exchange(self, rows, places):
        """Return the rows that are sent to this rank, in the order of the senders.

        Parameters
        ----------
        rows : ndarray of shape (n, d), float64
        places : ndarray of shape (n,)
            The rank that every row is sent to.
        """
        return rows

    def check_same(self, what, text):
        """Raise an error on all ranks unless their texts are the same.

        Parameters
        ----------
        what : str
            What the texts tell of, for the error.
        text : str
        """

    def check_step(self, text):
        """See that all ranks are at the same step of the same training.

        Parameters
        ----------
        text : callable
            ``text()`` tells where this rank is.
        """

    @contextmanager
    def together(self):
        """Let an error that one rank raises within the context end it on all ranks.

        Raises
        ------
        RankError
            On the ranks that have not failed themselves.
        """
        yield


ALONE = Alone()


class Ranks(Alone):
    """The group of all processes of an initialised process group of torch.

    Before every exchange there is a roll call, by which all ranks see that they are at
    the same step, and that none of them has failed. So an error of one rank, or ranks
    that have come to different steps, end the fit on all of them. A rank that is dead
    has closed its connections, on which the next roll call fails.

    Parameters
    ----------
    host : ProcessGroup
        Of the backend gloo, for what is in the memory of the host.
    device : ProcessGroup or None
        For tensors on a GPU; None sends them through the memory of the host.
    """

    def __init__(self, host, device=None):
        self.groups = [None if g is None else ref(g) for g in (host, device)]
        self.rank, self.size = dist.get_rank(host), dist.get_world_size(host)
        self.is_lost = False
        self._depth = 0

    @property
    def host(self):
        """The process group for what is in the memory of the host.

        Only torch keeps it: one that outlives ``destroy_process_group`` is destroyed
        while Python ends, when its threads abort the process at times.
        """
        group = self.groups[0]()
        if group is None:
            raise RankError("The process group of this fit was destroyed.")
        return group

    def sum(self, value):
        return self._reduced(value, dist.ReduceOp.SUM, "sum")

    def max(self, value):
        return self._reduced(value, dist.ReduceOp.MAX, "max")

    def min(self, value):
        return self._reduced(value, dist.ReduceOp.MIN, "min")

    def before(self, value):
        return sum(self.collect(value)[: self.rank], start=0 * value)

    def collect(self, value):
        values = [None] * self.size
        with self._message("collect"):
            dist.all_gather_object(values, value, group=self.host)
        return values

    def concat(self, array):
        if torch.is_tensor(array):
            parts = [part.to(array.device) for part in self.collect(array.cpu())]
            return torch.cat(parts)
        return np.concatenate(self.collect(array))

    def from_first(self, value):
        values = [value]
        with self._message("from_first"):
            source = dist.get_global_rank(self.host, 0)
            dist.broadcast_object_list(values, src=source, group=self.host)
        return values[0]

    def exchange(self, rows, places):
        order = np.argsort(places, kind="stable")
        sent = torch.from_numpy(np.bincount(places, minlength=self.size))
        received = torch.empty_like(sent)
        with self._message(f"exchange {rows.shape[1:]}"):
            dist.all_to_all_single(received, sent, group=self.host)
            found = torch.empty(int(received.sum()), *rows.shape[1:]).double()
            dist.all_to_all_single(
                found,
                torch.from_numpy(np.ascontiguousarray(rows[order])),
                received.tolist(),
                sent.tolist(),
                group=self.host,
            )
        return found.numpy()

    def check_same(self, what, text):
        texts = self.collect(text)
        for rank, other in enumerate(texts):
            if other != texts[0]:
                raise ValueError(
                    f"All processes of a fit must have the same {what}. Rank 0 has "
                    f"{texts[0]}, rank {rank} has {other}."
                )

    def check_step(self, text):
        with self._message(text()):
            pass

    @contextmanager
    def together(self):
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                with self._message("end"):
                    pass
        except BaseException as error:
            if self._depth == 1 and not isinstance(error, RankError):
                self._tell(error)
            raise
        finally:
            self._depth -= 1

    def _tell(self, error):
        """Answer the next roll call of the others with an error, unless all have it."""
        with suppress(RankError):
            self._roll_call("failure", f"{type(error).__name__}: {error}")

    def _roll_call(self, step, failure=None):
        """See that all ranks are at the same step, and that none has failed."""
        if self.is_lost:
            raise RankError(
                "A rank of this process group was lost before: start all anew."
            )
        tag = crc32(step.encode())
        calls = torch.tensor([failure is not None, tag, -tag])
        with self._connected():
            dist.all_reduce(calls, dist.ReduceOp.MAX, group=self.host)
            has_failed, largest, least = calls.tolist()
            if not has_failed and largest == -least:
                return
            failures = [None] * self.size
            dist.all_gather_object(failures, (failure, step), group=self.host)
        told = [
            f"rank {rank} has failed with {text}"
            for rank, (text, _) in enumerate(failures)
            if text is not None
        ]
        if not told:
            steps = [step for _, step in failures]
            told = [f"the ranks have come to different steps, {steps}"]
        raise RankError(f"The fit of {self.size} processes ends: {'; '.join(told)}.")

    @contextmanager
    def _message(self, step):
        """Hold a roll call before a message, and let no other follow half of one.

        After Ctrl-C the others would take the next roll call for what they wait for.
        """
        try:
            self._roll_call(step)
            with self._connected():
                yield
        except RankError:
            raise
        except BaseException as error:
            self._close(error)
            raise

    @contextmanager
    def _connected(self):
        """Close the connections to all ranks if one is broken, so that all notice."""
        try:
            yield
        except RankError:  # of a group that was destroyed
            raise
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            self._close(error)
            raise RankError(
                f"Rank {self.rank} of {self.size} has lost another rank of the fit, "
                f"which has died or was too slow for the timeout of the process group: "
                f"{error}"
            ) from error

    def _close(self, error):
        """Close the connections after an error, from which the others notice it."""
        self.is_lost = True
        clear_frames(error.__traceback__)  # which would keep the connections open
        with suppress(Exception):  # whatever a broken group raises
            dist.destroy_process_group(self.host)

    def _reduced(self, value, operation, name):
        """Return the values of all ranks, reduced, in the type of this one's."""
        if torch.is_tensor(value):
            return self._reduced_tensor(value, operation, name)
        array = np.asarray(value)
        tensor = torch.from_numpy(np.atleast_1d(array).copy())
        found = self._reduced_tensor(tensor, operation, name).numpy()
        return found if array.ndim else found[0]

    def _reduced_tensor(self, tensor, operation, name):
        """Return a new tensor, reduced over the ranks, on the same device."""
        on_device = tensor.is_cuda and self.groups[1] is not None
        found = tensor.detach().clone() if on_device else tensor.detach().cpu().clone()
        with self._message(f"{name} {tuple(tensor.shape)} {tensor.dtype}"):
            if found.numel():
                group = self.groups[1]() if on_device else self.host
                dist.all_reduce(found, operation, group=group)
        return found.to(tensor.device)


def group_of(processes):
    """Return the group of processes that a fit is made by.

    Parameters
    ----------
    processes : {"group"} or None
        The parameter of the estimators.

    Returns
    -------
    group : Alone

    Raises
    ------
    ValueError
        If there is no process group to ask for.
    """
    if processes != "group":  # other words are told of when parameters are checked
        return ALONE
    if not dist.is_available() or not dist.is_initialized():
        raise ValueError(
            "`processes='group'` needs a process group of torch: start the script by "
            "torchrun, and call torch.distributed.init_process_group() first."
        )
    world = dist.group.WORLD
    if not _KEPT or _KEPT[0]() is not world:
        has_gpus = "nccl" in dist.get_backend_config(world)
        _KEPT[:] = ref(world), Ranks(_host_of(world), world if has_gpus else None)
    return _KEPT[1]


_KEPT = []  # the process group of torch that was met last, and the ranks made of it
# In this time ranks connect that have all been there a moment before; a choice. Gloo
# tries it five times with one that has died meanwhile, and so gives up within a minute.
TIME_TO_CONNECT = timedelta(seconds=8)


def _host_of(world):
    """Return a new group of gloo for a fit, whose timeout is that of the world.

    All ranks see first that all are there, for however long the slowest takes. Without
    that, the others would wait for five timeouts for one that has died before.
    """
    timeout = _timeout_of(world)
    try:
        if timeout is None or "gloo" not in dist.get_backend_config(world):
            return dist.new_group(backend="gloo", timeout=timeout)
        dist.all_reduce(torch.zeros(1), group=world)
        host = dist.new_group(backend="gloo", timeout=min(timeout, TIME_TO_CONNECT))
    except RuntimeError as error:
        raise RankError(
            f"Rank {dist.get_rank()} of {dist.get_world_size()} has lost another rank "
            f"of the fit, before it could begin, which has died or was too slow for "
            f"the timeout of the process group: {error}"
        ) from error
    host._get_backend(torch.device("cpu"))._set_default_timeout(timeout)
    return host


def _timeout_of(world):
    """Return the timeout that a process group was made with; None if torch hides it."""
    for device in ("cpu", "cuda"):
        with suppress(AttributeError, RuntimeError):
            return world._get_backend(torch.device(device)).options._timeout
    return None
