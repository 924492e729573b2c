"""Which convolutions are the fastest for images: torch's, or those by products?

Of images of 32 x 32 pixels in three colours, at 24 layers of 8 channels, as
``paper/images.py`` trains them, and at 32 layers of 16 channels, the defaults:
gradients of the cross-entropy of a batch, and predictions, which are in float64. The
convolutions of the layers, all in `ConvResidualNetwork`:

torch     ``torch.nn.functional.conv2d``, by which odenet takes gradients
last      the same, the channels being the innermost axis (``channels_last``)
products  matrix products of shifted maps, the samples being the innermost axis, by
          which odenet predicts; of gradients, they are those of this file

That all compute the same is checked. They take turns on one thread; CPU ms are medians,
and the ratios are medians of the ratios of a turn: above 1, torch takes longer.

Expected: predictions are about twice as fast by products. Gradients are not, least of
all in float32, for which torch has oneDNN.

Run:  python benchmarks/image_seconds.py [--quick] [--json FILE] [--png FILE]
"""

from functools import partial
from statistics import median
from time import process_time

import torch
import torch.nn.functional as F
from _report import describe, machine, on_threads, parse_options, progress, save

from odenet import ConvResidualNetwork
from odenet._network.activations import ACTIVATIONS

CONTESTANTS = ("torch", "last", "products")
SIZES = [(8, 24), (16, 32)]  # channels and layers
# Rounds without a first one, in which libraries set themselves up.
ROUNDS = 5


class ByTorch(ConvResidualNetwork):
    """The convolutions of torch, in predictions as well."""

    def _is_by_products(self, h):
        return False


class ChannelsLast(ByTorch):
    """The same, the channels of a pixel side by side in memory."""

    def _run_layers(self, h, all_states=False):
        h = h.contiguous(memory_format=torch.channels_last)
        return super()._run_layers(h, all_states)


class ByProducts(ConvResidualNetwork):
    """Products in training, too: a loop over the layers around ``Convolution``."""

    def _run_layers(self, h, all_states=False):
        if not self.training:
            return super()._run_layers(h, all_states)
        activation = ACTIVATIONS[self.activation]
        h = h.permute(1, 2, 3, 0).contiguous()[None]
        names = ("W", "W_moments", "W_norm", "V", "V_moments", "V_norm")
        stacks = [getattr(self, name).unbind(0) for name in names]
        for W, W_moments, W_norm, V, V_moments, V_norm in zip(*stacks, strict=True):
            z = self._normalise(Convolution.apply(h, W), W_moments, W_norm)
            z = Convolution.apply(activation(z), V)
            z = self._normalise(z, V_moments, V_norm)
            h = torch.add(h, z, alpha=1 / self.depth)
        return [h[0].permute(3, 0, 1, 2)]


class Convolution(torch.autograd.Function):
    """A convolution of maps (1, channels, height, width, n), by matrix products."""

    @staticmethod
    def forward(ctx, h, filters):
        ctx.save_for_backward(h, filters)
        return convolved(shifted(h), filters, h)

    @staticmethod
    def backward(ctx, g):
        h, filters = ctx.saved_tensors
        maps, row = shifted(g), g[0, 0, 0].numel()
        grad_h = convolved(maps, filters.flip(2, 3).transpose(0, 1), h)
        h, end = h[0].flatten(1).mT, maps.shape[1] - row
        rows = [maps[:, row:] @ h[:end], maps @ h, maps[:, :end] @ h[row:]]
        grad = torch.stack(rows).view(3, 3, *filters.shape[:2])
        return grad_h, grad.flip(1).permute(2, 3, 0, 1)


def shifted(h):
    """Stack maps that are a pixel to the right, where they are, a pixel to the left."""
    maps = h.new_empty(3, *h.shape[1:])
    maps[0, :, :, :1], maps[0, :, :, 1:] = 0, h[0, :, :, :-1]
    maps[1] = h[0]
    maps[2, :, :, -1:], maps[2, :, :, :-1] = 0, h[0, :, :, 1:]
    return maps.view(3 * h.shape[1], -1)


def convolved(maps, filters, h):
    """Return the sum of the products of three rows of filters, in the shape of h."""
    upper, middle, lower = filters.permute(2, 0, 3, 1).flatten(2)
    end = maps.shape[1] - h[0, 0, 0].numel()
    out = middle @ maps
    out[:, -end:].addmm_(upper, maps[:, :end])
    out[:, :end].addmm_(lower, maps[:, -end:])
    return out.view(h.shape)


def make_networks(channels, depth, dtype):
    """Make the same network for every contestant, whose layers do something."""
    networks = {}
    for name, kind in zip(
        CONTESTANTS, (ByTorch, ChannelsLast, ByProducts), strict=True
    ):
        networks[name] = kind(
            (32, 32, 3),
            n_outputs=10,
            depth=depth,
            channels=channels,
            generator=torch.Generator().manual_seed(0),
            dtype=dtype,
        )
        with torch.no_grad():
            networks[name].V_norm.add_(0.5)
    return networks


def gradient(network, x, y):
    """Return the gradient of the filters W, having computed all."""
    network.train().zero_grad()
    F.cross_entropy(network(x), y).backward()
    return network.W.grad


def prediction(network, x, y):
    """Return the outputs in evaluation."""
    with torch.no_grad():
        return network.eval()(x)


def cpu_seconds(call):
    start = process_time()
    call()
    return process_time() - start


def measure(function, dtype, channels, depth, n, n_rounds):
    """Measure the CPU seconds of all contestants, and check what they compute."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 32 * 32 * 3, generator=generator).to(dtype)
    y = torch.randint(10, (n,), generator=generator)
    networks = make_networks(channels, depth, dtype)
    calls = [partial(function, networks[name], x, y) for name in CONTESTANTS]
    expected, *others = [call() for call in calls]
    for other in others:
        tolerance = 1e-3 if dtype == torch.float32 else 1e-9
        if not (other - expected).norm() <= tolerance * expected.norm():
            raise RuntimeError("The convolutions compute different things.")
    rounds = [[cpu_seconds(call) for call in calls] for _ in range(n_rounds)]
    row = {"what": function.__name__, "dtype": str(dtype).removeprefix("torch.")}
    row |= {"channels": channels, "depth": depth, "n": n}
    row |= dict(zip(CONTESTANTS, map(median, zip(*rounds, strict=True)), strict=True))
    for i, name in enumerate(CONTESTANTS[1:], start=1):
        row[f"torch/{name}"] = median(seconds[0] / seconds[i] for seconds in rounds)
    return row


def draw(figure, results):
    axis, rows = figure.subplots(), results["rows"]
    for name in CONTESTANTS[1:]:
        axis.plot([row[f"torch/{name}"] for row in rows], "o", label=name)
    axis.axhline(1, color="grey", linewidth=1)
    labels = [f"{r['what']}\n{r['dtype']}\n{r['channels']}, {r['n']}" for r in rows]
    axis.set_xticks(range(len(rows)), labels, fontsize="x-small")
    axis.set(ylabel="CPU seconds of torch's convolutions / others")
    axis.legend()


def main():
    options = parse_options(__doc__)
    cases = [
        (function, dtype, *size, n)
        for function, dtype in [
            (gradient, torch.float32),
            (gradient, torch.float64),
            (prediction, torch.float64),
        ]
        for size in SIZES
        for n in (64, 256)
    ]
    n_rounds = ROUNDS
    if options.quick:
        cases, n_rounds = [(*case[:2], 3, 2, 4) for case in cases[::4]], 1
    results = {"machine": machine(options.quick), "rows": []}
    print(describe(results["machine"]))
    print(
        f"{'':<10} {'':<8} {'channels':>8} {'depth':>5} {'images':>6} | "
        f"{'torch ms':>8} {'last ms':>8} {'products ms':>11} | "
        f"{'torch/last':>10} {'torch/products':>14}"
    )
    with on_threads(1):
        for case in progress(cases, "cases"):
            row = measure(*case, n_rounds)
            results["rows"].append(row)
            print(
                f"{row['what']:<10} {row['dtype']:<8} {row['channels']:>8} "
                f"{row['depth']:>5} {row['n']:>6} | {1e3 * row['torch']:>8.1f} "
                f"{1e3 * row['last']:>8.1f} {1e3 * row['products']:>11.1f} | "
                f"{row['torch/last']:>10.2f} {row['torch/products']:>14.2f}",
                flush=True,
            )
    save(options, results, draw)


if __name__ == "__main__":
    main()
