"""
A student of boosted trees
==========================

Boosted trees are trained on handwritten digits, and then teach a residual network: it
is fitted to their probabilities instead of the labels. The student is trained with 64
layers. Four layers that imitate it are exported to ONNX, and serve without Python: they
say what the teacher says nearly as often, in a small part of its time.
"""

# %%
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from odenet import distil

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
teacher = HistGradientBoostingClassifier(random_state=0).fit(X_train, y_train)

# %%
# The student needs no labels. The teacher is asked at the rows that it was trained on,
# and at four times as many whose pixels are mixed from several of them.
student = distil(teacher, X_train, random_state=0)
with TemporaryDirectory() as folder:
    path = Path(folder) / "student.onnx"
    student.with_depth(4, imitate=True).to_onnx(path)
    session = onnxruntime.InferenceSession(path)


def serve(X):
    return session.run(["label"], {"X": X})[0]


# %%
# The accuracy, how often the teacher says the same, and the milliseconds for one image
# and for all test images, in the median.
def milliseconds(predict, X, n_calls):
    seconds = []
    for _ in range(n_calls):
        start = perf_counter()
        predict(X)
        seconds.append(perf_counter() - start)
    return 1000 * median(seconds)


said = teacher.predict(X_test)
models = {
    "teacher: boosted trees": teacher.predict,
    "student: 64 layers": student.predict,
    "served: 4 layers, ONNX": serve,
}
print(f"{'':<23} accuracy  like the teacher  ms, 1 image  ms, {len(X_test)} images")
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (name, predict) in enumerate(models.items()):
    labels = predict(X_test)
    accuracy, alike = np.mean(labels == y_test), np.mean(labels == said)
    one, many = (milliseconds(predict, X_test[:n], 21) for n in (1, len(X_test)))
    print(f"{name:<23} {accuracy:8.4f} {alike:17.4f} {one:12.2f} {many:15.2f}")
    style = ("-", "--", ":")[i]  # tells them apart without colours
    ax.plot([one, many], [accuracy] * 2, style, color=f"C{i}", label=name)
    ax.plot(one, accuracy, "o", many, accuracy, "s", color=f"C{i}")
ax.plot([], [], "ko", label="one image")
ax.plot([], [], "ks", label=f"{len(X_test)} images")
ax.set(xscale="log", ylim=(0.94, 1), xlabel="milliseconds", ylabel="test accuracy")
ax.set_title("A student in 4 layers knows what its teacher knows, in less time")
ax.legend()

# %%
path = Path(__file__).with_suffix(".png") if "__file__" in globals() else Path("x.png")
fig.savefig(path, dpi=150)
print(f"Figure saved as {path.name}")
