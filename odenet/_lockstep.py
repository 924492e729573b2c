"""Tasks in lockstep: what many of them ask for is answered at once.

A training asks for one gradient after another. Many trainings could have theirs from
one batched product, but each decides for itself where to go next, and is written as if
it were alone. So each runs in a thread, only one of them at a time, until it asks; and
when all wait for an answer, all answers are computed together.
"""

import threading

from sklearn import config_context, get_config

_here = threading.local()


def ask_partner():
    """The function by which the task of this thread asks, None outside of lockstep."""
    return getattr(_here, "ask", None)


class Abandoned(BaseException):
    """Ends a task because another one has failed."""


class Lockstep:
    """Runs tasks whose requests are answered together.

    Parameters
    ----------
    answer : callable
        Takes the list of all requests that are open, returns the answers.
    """

    def __init__(self, answer):
        self.answer = answer

    def run(self, functions):
        """Results of all functions, in their order.

        Raises
        ------
        BaseException
            What one of the functions, or ``answer``, has raised; or KeyboardInterrupt.
            The other tasks are ended before.
        """
        config = get_config()
        self._turn = threading.Semaphore(0)
        tasks = [_Task(function, self._turn, config) for function in functions]
        try:
            self._run(tasks)
        except BaseException:
            self._abandon(tasks)
            raise
        return [task.result for task in tasks]

    def _run(self, tasks):
        for task in tasks:
            self._resume(task)
        while waiting := [task for task in tasks if not task.has_ended]:
            answers = self.answer([task.request for task in waiting])
            for task, answer in zip(waiting, answers, strict=True):
                task.reply = answer
                self._resume(task)

    def _resume(self, task):
        """Let one task run until it asks again, or ends."""
        self._running = task
        task.resume()
        self._turn.acquire()
        self._running = None
        if task.error is not None:
            raise task.error

    def _abandon(self, tasks):
        if self._running is not None:  # interrupted while a task had its turn
            self._turn.acquire()
        for task in tasks:
            while task.has_begun and not task.has_ended:
                task.reply = Abandoned()
                task.resume()
                self._turn.acquire()


class _Task:
    """A function in a thread that runs when it is its turn."""

    def __init__(self, function, turn, config):
        self.function = function
        self.turn = turn
        self.config = config
        self.gate = threading.Semaphore(0)
        self.has_begun = self.has_ended = False
        self.request = self.reply = self.result = self.error = None

    def resume(self):
        """Begin, or go on with the reply."""
        if self.has_begun:
            self.gate.release()
        else:
            self.has_begun = True
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        _here.ask = self._ask
        try:
            with config_context(**self.config):
                self.result = self.function()
        except BaseException as error:
            self.error = error
        self.has_ended = True
        self.turn.release()

    def _ask(self, request):
        self.request = request
        self.turn.release()
        self.gate.acquire()
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply
