"""A fitted estimator in words: a text, a table for notebooks, its history."""

from html import escape

from sklearn.utils.validation import check_is_fitted

from odenet._training.history import history_columns
from odenet._utils.sklearn_private import check_pandas_support

ROW = (
    '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
)


class SummaryMixin:
    """What a fitted estimator tells of itself."""

    @property
    def history_(self):
        """The training as a pandas data frame: a row for every step, or epoch.

        "role" tells a training that chooses the flow time ("choose") from the one that
        fits; "depth", "flow_time" and "train_loss" are those at the end of the step;
        "n_grad_evals" and "seconds" are sums from the start; "valid_loss" and
        "valid_score" are of held-out samples. Then come the solver's own columns and
        those of callbacks. What is missing is NaN.
        """
        check_is_fitted(self)
        try:
            pandas = check_pandas_support("history_")
        except ImportError as error:  # scikit-learn asks for all attributes
            raise AttributeError(
                f"{error} Install it by `pip install pandas`, or take the rows from "
                "`net_.history`."
            ) from error
        return pandas.DataFrame(history_columns(self.net_.history))

    def summary(self):
        """What was fitted, in a few lines of text.

        The network, how it was trained, its losses, how smooth its weights are in
        depth, and the gap to its neural ODE.

        Returns
        -------
        summary : str

        Examples
        --------
        >>> from odenet import ResODERegressor
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
        >>> model = ResODERegressor(8, flow_time=10.0, random_state=0).fit(X, y)
        >>> print(model.summary().split("\\n")[1])
        network     8 layers, state 16, width 64, gelu: 16,448 parameters
        """
        check_is_fitted(self)
        lines = [f"{name:<10}  {text}" for name, text in self._facts()]
        return "\n".join([type(self).__name__, *lines])

    def _facts(self):
        """Pairs of a name and a text."""
        return [
            ("network", self._of_network()),
            ("training", self._of_training()),
            ("loss", self._of_losses()),
            ("smoothness", self._of_smoothness()),
            *([("gap", self._of_gap())] if hasattr(self, "ode_gap") else []),
        ]

    def _of_network(self):
        network = self.module_
        n_parameters = sum(p.numel() for p in network.parameters())
        imitated = network.imitated_depth
        return (
            f"{network.depth} layers"
            + (f" that imitate {imitated}" if imitated is not None else "")
            + f", state {network.state_dim}, width {network.width}, "
            f"{network.activation}: {n_parameters:,} parameters"
        )

    def _of_training(self):
        how = f"{type(self.solver_).__name__}"
        if self.flow_time_ is not None:
            how += f" to flow time {self.flow_time_:.4g}"
        seconds = sum(row.get("dur", 0.0) for row in self.net_.history)
        return (
            f"{how}, {self.n_grad_evals_:,} gradients, {seconds:.3g} s; "
            f"stopped by {self.stop_reason_}"
        )

    def _of_losses(self):
        losses = [("training", self.loss_curve_, lambda curve: curve[-1])]
        losses += [("held out", self.validation_loss_curve_, min)]
        parts = [f"{take(curve):.4g} ({name})" for name, curve, take in losses if curve]
        return ", ".join(parts) or "none: nothing was trained"

    def _of_smoothness(self):
        smoothness = self.depth_smoothness_
        return (
            f"Lipschitz constant {smoothness.lipschitz:.3g}, "
            f"von Neumann ratio {smoothness.von_neumann_ratio:.2g}" + self._scale()
        )

    def _scale(self):
        """What the ratio is of a straight line, and of independent layers."""
        depth = self.module_.depth
        if depth < 3:
            return ""
        return f" (straight line {6 / (depth**2 - 1):.2g}, independent layers 1)"

    def _of_gap(self):
        gap = getattr(self, "ode_gap_", None)
        if gap is None:
            return "not measured: see ode_gap(X)"
        if gap != gap:
            return "none: the weights are not smooth in depth"
        return f"{gap:.2g} of the output, to the neural ODE (estimated)"

    def _repr_html_inner(self):
        return self._with_summary(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._with_summary(bundle["text/html"])
        return bundle

    def _with_summary(self, html):
        """The facts as a table, below scikit-learn's own picture."""
        if not hasattr(self, "module_"):
            return html
        rows = (ROW.format(escape(name), escape(text)) for name, text in self._facts())
        table = f'<table class="odenet-summary">{"".join(rows)}</table>'
        before, end, after = html.rpartition("</body>")
        return before + table + end + after if end else html + table
