"""The gradient of the network in JAX, measured in a process of its own.

JAX starts as many threads as there are cores that the process may use. So there is one
process for every number of cores. It reads commands from stdin, one JSON on a line.
"""

import importlib.util
import json
import os
import subprocess
import sys
from math import sqrt
from time import perf_counter


def numbers_of_cores():
    """Return the numbers of cores to try; none without JAX.

    Where a process cannot be bound to cores, only all of them can be tried.
    """
    if importlib.util.find_spec("jax") is None:
        return []
    return [1, os.cpu_count()] if hasattr(os, "sched_setaffinity") else [os.cpu_count()]


class JaxGradient:
    """Starts a worker process and sends commands to it."""

    def __init__(self, n_cores):
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(n_cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, path):
        """Load weights and samples from a file, and return the loss."""
        return self._ask(path=str(path))

    def turn(self, shortest):
        """Measure the seconds per gradient."""
        return self._ask(shortest=shortest)

    def close(self):
        """End the process of the worker."""
        self.process.communicate()

    def _ask(self, **command):
        """Send a command to the worker, and return its answer."""
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _make_gradient():
    """Return the compiled loss with its gradient, and a function that waits for it."""
    import jax
    import jax.numpy as jnp

    def loss(parameters, X, y):
        A, V, W, B = parameters
        L, q, m = V.shape

        def layer(h, layer_weights):
            V_k, W_k = layer_weights
            inner = jax.nn.gelu(h @ W_k.T / sqrt(q), approximate=False)
            return h + inner @ V_k.T / (L * sqrt(m)), None

        h, _ = jax.lax.scan(layer, X @ A.T, (V, W))
        return jnp.square(h @ B.T - y).mean()

    return jax.jit(jax.value_and_grad(loss)), jax.block_until_ready


def _load(path):
    """Load the parameters, X and y from a file."""
    import jax.numpy as jnp
    import numpy as np

    with np.load(path) as arrays:
        parameters = [jnp.asarray(arrays[n]) for n in ("embedding", "V", "W", "head")]
        return parameters, jnp.asarray(arrays["X"]), jnp.asarray(arrays["y"])


def _seconds(gradient, wait, problem, shortest):
    """Measure the mean seconds of a gradient, for the shortest time at least."""
    wait(gradient(*problem))  # a warm-up
    n_calls, start = 0, perf_counter()
    while n_calls == 0 or perf_counter() - start < shortest:
        wait(gradient(*problem))
        n_calls += 1
    return (perf_counter() - start) / n_calls


def main():
    n_cores = int(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
    gradient, wait = _make_gradient()
    problem = None
    for line in sys.stdin:
        command = json.loads(line)
        if "path" in command:
            problem = _load(command["path"])
            answer = float(gradient(*problem)[0])
        else:
            answer = _seconds(gradient, wait, problem, command["shortest"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
