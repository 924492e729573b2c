"""
A training, animated
====================

Three arms of a spiral are told apart by a network of 32 layers. Each layer moves each
point a little: a line is the way of a point through all layers. Before the training no
layer moves anything. Then the gradient flow bends the ways, all layers together, until
the arms lie apart, and every way is smooth at every time.
"""

# %%
import copy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from PIL import Image
from sklearn.decomposition import PCA
from skorch.callbacks import Callback

from odenet import ResODEClassifier
from odenet.solvers import Flow

rng = np.random.default_rng(0)
distance, arm = np.sqrt(rng.uniform(0.03, 1, 150)), np.repeat([0, 1, 2], 50)
angle = 2 * np.pi * arm / 3 + 3.5 * distance
X = 2.4 * distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
X += 0.12 * rng.standard_normal(X.shape)


# %%
# A callback of skorch keeps the network at the start, and after every step of the flow.
class Film(Callback):
    """Keep copies of the network."""

    def on_train_begin(self, net, **kwargs):
        self.shots = [(0.0, copy.deepcopy(net.module_))]

    def on_epoch_end(self, net, **kwargs):
        time = net.history[-1, "flow_time"]
        self.shots.append((time, copy.deepcopy(net.module_)))


film = Film()
settings = {"state_dim": 6, "width": 32, "depth_schedule": None, "flow_time": 40.0}
settings |= {"early_stopping": False, "standardize": False, "numeric_embedding": None}
settings |= {"label_smoothing": 0.0, "callbacks": [film], "random_state": 0}
settings |= {"solver": Flow(rtol=1e-3)}  # short steps, for a smooth film
model = ResODEClassifier(32, **settings).fit(X, arm)
print(f"{len(film.shots)} shots, {model.score(X, arm):.0%} right at the end")

# %%
# Every shot shows the answers everywhere in the plane, and the states of the points at
# all layers. These are seen in the plane in which they vary most at the end.
states = model.hidden_states(X).reshape(-1, 6)
plane = PCA(2).fit(states)
side = np.linspace(-3, 3, 121)
places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
colors, markers = ("#12355b", "#d1652c", "#8ab6c9"), "os^"
shades = ("#aab6c4", "#f0c9b4", "#d6e4ea")  # of the places with these answers
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 4.3), layout="constrained")
seen = plane.transform(states)
limits = np.array([seen.min(axis=0) - 1, seen.max(axis=0) + 1])


@torch.no_grad()
def draw(time, network):
    """Draw one shot, and return it as an image."""
    answers = network(torch.tensor(places).float()).argmax(dim=1).numpy()
    states = network.hidden_states(torch.tensor(X).float()).flatten(0, 1)
    ways = plane.transform(states.numpy()).reshape(33, -1, 2)
    share = np.mean(network(torch.tensor(X).float()).argmax(dim=1).numpy() == arm)
    for ax in (left, right):
        ax.clear()
    extent = (-3, 3, -3, 3)
    scale = {"cmap": ListedColormap(shades), "vmin": 0, "vmax": 2}
    left.imshow(answers.reshape(121, 121), origin="lower", extent=extent, **scale)
    for k, (color, marker) in enumerate(zip(colors, markers, strict=True)):
        style = {"color": color, "marker": marker, "mec": "k", "mew": 0.4, "ms": 4}
        left.plot(*X[arm == k].T, ls="", **style)
        of_arm = ways[:, arm == k]
        right.plot(of_arm[..., 0], of_arm[..., 1], color=color, lw=0.9)
        right.plot(*of_arm[-1].T, ls="", **style)
    left.set(xlabel="first input", ylabel="second input", title=f"{share:.0%} right")
    right.set(xlabel="first principal component of the state")
    right.set(ylabel="second component", xlim=limits[:, 0], ylim=limits[:, 1])
    right.set_title("ways through 32 layers")
    fig.suptitle(f"Training at flow time t = {time:4.1f}", family="monospace")
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3])


shots = [draw(*shot) for shot in film.shots]
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
palette = shots[-1].quantize(64, method=Image.Quantize.MAXCOVERAGE)
first, *others = [shot.quantize(palette=palette, dither=0) for shot in shots]
milliseconds = [800] + [4000 // len(shots)] * (len(others) - 1) + [1200]
# It runs three times, and then rests: what moves for ever is hard to read beside.
film_settings = {"save_all": True, "duration": milliseconds, "loop": 2}
first.save(path.with_suffix(".gif"), append_images=others, **film_settings)
print(f"Figures saved as {path.name} and {path.stem}.gif")
