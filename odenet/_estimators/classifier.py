"""The classifier."""

from numbers import Real

from odenet._estimators.classification import ClassificationMixin
from odenet._estimators.table import TableResODE
from odenet._utils.sklearn_private import Interval, StrOptions


class ResODEClassifier(ClassificationMixin, TableResODE):
    """Classification by a deep residual network that is a neural ODE.

    Minimises the cross-entropy. Two classes share one output, the logit of the second.
    If y has several columns, of 0 and 1, they are labels of which a sample may have
    any: each has an output of its own, and their cross-entropies are summed.

    Parameters
    ----------
    depth : int or "auto", default=64
        Number L of residual layers. "auto" adds more until the measured gap to the
        neural ODE (see ``ode_gap``) is at most ``gap_tol``; ``depth_`` tells where that
        is, 1024 at most.
    width : int, default=64
        Inner width m of a residual.
    state_dim : int, default=None
        Dimension q of the state. None is min(n_inputs + 1, 128) + n_outputs, and at
        least 16. A category counts as an input, up to 16 of a column, and normal
        scores do, but neither bins nor waves of ``numeric_embedding``.
    activation : {"gelu", "tanh", "silu", "softplus", "relu", "identity"}, \
            default="gelu"
        Activation of a residual. With "relu" the theorems do not hold.
    init : {"tied", "gaussian_process", "iid"} or callable, default="tied"
        The weights at the start, as functions of depth: see :mod:`odenet.schemes`. With
        "iid" the network is no discretised ODE. A name stands for the scheme with
        ``scale=4``, so that a fit soon is more than linear; an object is used as it is,
        and ``Tied()`` is the start of the paper.
    solver : {"auto", "flow", "gd", "sgd", "adamw", "soap"} or object, default="auto"
        How the network is trained: see :mod:`odenet.solvers`, whose objects carry the
        settings of each. "flow" follows the gradient flow of all samples by an adaptive
        stabilised Runge-Kutta method, "gd" by gradient descent with small steps; "sgd",
        "adamw" and "soap" train on mini-batches. "auto" is "flow" for up to 500
        distinct samples, or where a ``flow_time`` is given, else "adamw", or of more
        than 20,000 "soap"; ``solver_`` tells.
    flow_time : float, default=None
        Horizon T of "flow" and "gd"; the other solvers have none. None lets the data
        decide: training ends when the validation loss has risen, or the training loss
        is stationary, or at the latest at T = 1200 if held-out samples judge it (of
        folds, 200 or more), and T = 100 otherwise. ``inf`` follows the flow to its end,
        until the loss is stationary or down to rounding.
    depth_schedule : "doubling", array-like of int, or None, default="doubling"
        Depths to train at, in ascending order; a sequence must end at ``depth``. While
        a network is shallow it imitates the deep one, to second order in its own step
        (:math:`O(1/l^2)`), and it goes on to the next depth where the training loss
        would differ by more than 0.05 % there. The final stretch is trained at full
        depth. On the sets that were measured the training loss at the end was within
        1 % of that of training at full depth, which None does. "doubling" starts from 4
        to 7 layers; from weights that are not smooth in depth (``init="iid"``) it does
        what None does. On mini-batches every depth is a stage, with a share of the
        epochs in proportion to 1 / depth, and "doubling" has two of them: from 8 to 15
        layers, and ``depth``.
    gap_tol : float, default=0.01
        The gap allowed for ``depth="auto"``.
    alpha : float, default=0.0
        L2 penalty, alpha / 2 times the sum of the squared norms of A, B and, averaged
        over the layers, (V, W).
    smoothness_penalty : float, default=0.0
        Penalty on the variation of the weights in depth, times
        L * sum_k ||Z_{k+1} - Z_k||_F^2, where Z = (V, W) (Marion, NeurIPS 2023).
    early_stopping : bool or "auto", default="auto"
        Whether samples that are held out decide when to stop, and which weights to
        keep. True holds out a part: a flow ends when the loss on it has risen, and is
        followed again, on all samples, to the flow time of the weights that no later
        ones beat by more than the standard error of the difference; mini-batches end
        with the weights of lowest loss. "auto" does so for 200 distinct samples or
        more, and holds out at least 100 of them, or 30 % of few. But a ``flow_time``
        that is given is kept to, and a flow of 20 to 500 samples has its time chosen by
        cross-validation: five networks, trained as one, each hold out a fold of their
        own, and the time is that of their lowest mean loss. A sample that outweighs
        many others is in both parts, with its share of the weight in each.
    validation_fraction : float, default=0.1
        Share of the samples (of every class, of their weight) that is held out.
    validation_split : {"random", "last"}, splitter or iterable, default="random"
        Which samples are held out; ``early_stopping`` says whether any are. "random"
        draws them one by one, or whole groups if ``fit`` gets ``groups``. "last" takes
        the last rows in the order of X, for rows in the order of time: a share of
        ``validation_fraction`` (for "auto" 100 rows at least, as above), or, where
        "auto" cross-validates, the last half in five blocks, each held out from a
        training on all rows before it. Members all hold out the same last rows.

        A splitter of scikit-learn, such as ``GroupKFold`` or ``TimeSeriesSplit``, or a
        list of pairs (train, held_out) of indices of rows, takes the place of
        ``validation_fraction``. It sees all rows, and no weights. A flow has its time
        chosen on all of its splits, however many rows there are, and is then followed
        on all samples. Mini-batches take the last split, and train on its ``train``
        only. The i-th of several members holds out the part of the i-th split, from
        the first again if there are too few, and where some split leaves out rows
        (as ``TimeSeriesSplit`` does), or there is only one, all take the last split.
        ``X_val`` takes the place of all this. ``partial_fit`` holds out nothing.
    n_members : int, default=1
        Number of networks, of independent starts, whose predictions are averaged. They
        are trained as one network with an axis of models. Where samples are held out,
        each member holds out a fold of its own, of 5 or of as many as there are
        members, in place of ``validation_fraction``: every sample trains most of them.
        All members end at the flow time or epoch of the lowest mean loss on their
        folds. Their probabilities are averaged.
    scoring : str, callable or None, default="loss"
        By what held-out samples judge the training: their "loss", the name of a scorer
        of scikit-learn, a callable ``scorer(estimator, X, y)``, which also gets the
        ``sample_weight`` of samples of unequal weights, or None, which is ``score``.
        The weights of the greatest score are kept, and of equal scores those of the
        lowest loss. Training ends when neither the score nor the loss has become better
        for as long as ``early_stopping`` waits. The score of folds is the mean of
        theirs. Without early stopping it is not used.
    standardize : bool, default=True
        Whether to scale the columns of X inside the model. Inputs beyond some standard
        deviations are drawn in smoothly, to 4 at most; columns that are constant in
        training are ignored. See ``numeric_embedding`` for what the network is given
        besides. A sparse X is neither centred nor ranked: all columns are multiplied by
        one number, with which the mean square norm of a row is 1.
    categorical_features : "from_dtype", array-like of bool, int or str, or None, \
            default="from_dtype"
        The columns that hold categories, by a mask, by indices or by names.
        "from_dtype" takes those of a pandas or polars frame whose dtype is one of
        categories or strings, None none; a list takes the place of that, so that it
        has to name all. Inside the model a category is a column of its own, for which
        the matrix A learns a vector, as an embedding does; two categories share one
        column. A missing value is a category if training has met it. A category that
        training has not met is all zeros, unless rare ones are pooled: then it is one
        of them. The columns of rare categories are small.
    min_frequency : int, float or None, default=2
        Categories of fewer samples than this, or than this share of all if it is no
        integer, are pooled: they share one column, as in scikit-learn's OneHotEncoder.
        A sample of weight w counts as w samples; if some distinct sample has a weight
        below 1, then in units of the smallest. None and 1 pool none.
    max_categories : int, default=None
        Upper limit to the number of categories of a column, with the pooled ones as
        one: the least frequent are pooled as well. None sets no limit.
    allow_nan : bool, default=False
        Whether numbers may be missing (NaN). One that is takes the mean of its column,
        and where training has met NaN in a column, a further column inside the model
        says which numbers are missing.
    numeric_embedding : {"auto", "scores", "piecewise_linear", "periodic"} or None, \
            default="auto"
        What the network is given of a column of more than two numbers, beside its
        standardised value, which is all that None gives. "scores" are its normal
        scores, which depend on the order of its values only. "piecewise_linear" adds to
        these the shares of bins that a value has passed, in which any function that is
        linear in every bin is linear: up to 128 bins, one for 20 distinct samples,
        between frequent values and quantiles of the others in training. "periodic" adds
        to the scores sines and cosines of 8 frequencies, which are drawn once, with a
        standard deviation of 0.1 periods per standard deviation of the column (both are
        by Gorishniy, Rubachev and Babenko, NeurIPS 2022). The network starts as if bins
        and waves were not there. "auto" is "piecewise_linear" for 40 to 500 distinct
        samples on a flow, and for 40 and more on mini-batches of two classes: of more
        classes bins are no help on most tables there. "auto" has fewer bins where all
        columns would have more than 8192, or all samples more than 2^25 numbers, or
        more than fit into half of ``memory_limit``, and none where fewer would be left
        of a column than 24, or than one for 20 samples; else it is "scores", and None
        without ``standardize``. A sparse X takes "auto" and None only, which are the
        same there. No column can have both waves and a constraint of ``monotonic_cst``.
    monotonic_cst : array-like of int of shape (n_features,) or dict, default=None
        The features with which probabilities of ``classes_[1]`` must not fall (1) or
        must not rise (-1), as in scikit-learn's gradient boosting; 0 leaves a feature
        free. A dict maps names of features to these numbers. It holds for all X, at
        every depth, and for the neural ODE up to its tolerance, since the weights on
        the ways from such a feature have a sign, to which training projects them. Of
        numbers that may be missing, it holds for those that are not. Columns of
        categories cannot be constrained, nor can more than two classes, and
        ``Flow(method="exponential")`` cannot train so. The activation must increase:
        "gelu", the default, gives way to "tanh", and "silu" is refused.
    class_weight : dict, "balanced" or list of dict, default=None
        Weights of the classes; "balanced" gives all the same total weight. Of several
        labels, a list has a dict for each, such as ``{0: 1, 1: 5}``; the weights that a
        sample has by its labels are multiplied, as in scikit-learn's trees.
    label_smoothing : float, default=0.05
        Probability that a label is taken to be spread over all classes, in proportion
        to their shares among the samples, so that the mean probability of a class stays
        right. It keeps the logits bounded: without it the flow of separable classes has
        no limit. Training starts at the log-odds of the shares. Each of several labels
        is spread over having it or not.
    backward : {"stored", "rebuilt"}, default="stored"
        Whether a gradient stores the states of all layers, or rebuilds them from the
        last one on the way back: slower, in memory that does not grow with depth.
    callbacks : list, default=None
        Callbacks of skorch, called at every step of the flow or epoch; where a flow
        time is chosen on a part that is held out, by the run that chooses it.
    checkpoint : str or path-like, default=None
        A file in which an unfinished fit keeps its state every ten seconds. If the
        process is killed, ``fit`` with the same data and parameters goes on from there,
        on the same machine to the same model, to the last bit. The file is removed when
        the fit is complete. See "Long fits" in the user guide.
    memory_limit : int or str, default=None
        The most memory for the rows of a training set, in bytes or as "500MB" or
        "2GiB", beside that of the network and of its gradients. A larger table is
        written to a temporary file, and trained on from there by parts: see "Data that
        do not fit into memory" in the user guide. None holds all rows in memory.
    processes : {"group"} or None, default=None
        "group" lets all processes of an initialised process group of torch fit one
        model together, as those that torchrun starts: each calls ``fit`` with rows of
        its own, and has the same model at the end, that of one process with all rows.
        None fits in this process, whatever groups there are. See "Many processes" in
        the user guide.
    device : str, default="auto"
        "auto" is CUDA where there is one, else the CPU; or any name of a torch device.
    dtype : {"float32", "float64"}, default="float32"
        Number format of training, and of the layers in predictions, which are float64
        all the same: those of float32 are off by about 1e-6 of the standard deviation
        of the targets or logits. Differences of predictions at nearby samples, as for a
        numerical gradient, want "float64".
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights and the flow time reached before, to
        the horizon ``flow_time``, with the standardisation of the first fit.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, of the held-out samples and of the mini-batches. The same
        int gives the same model on the same machine, whatever the order of the rows
        (unless ``validation_split`` depends on it).
        The global random states are neither read nor set.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes; of several labels, the numbers of the columns of y.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if X had any.
    n_samples_fit_ : int
        Number of training samples that have weight; of all parts by ``partial_fit``.
    n_outputs_ : int
        Number of outputs of the network.
    temperature_ : float
        What the outputs of the network are divided by to be logits: that by which
        samples have the least log loss that were held out for good, to stop
        mini-batches early, or as ``X_val``. It is 1 without such samples (a flow ends
        on all of them), after ``partial_fit``, for several members, whose mean is less
        sure than each, and for several labels.
    module_ : ResidualNetwork
        The network, on standardised inputs.
    net_ : skorch net
        What trained it, with ``net_.history``.
    depth_ : int
        Number of layers.
    depth_path_ : list of dict
        The depths walked through, one row for each: "depth"; where it began, as
        "n_iter", "flow_time", "n_grad_evals" and "seconds"; and, measured at the change
        on up to 2048 samples, the "loss" after it, the "loss_gap" to the one before,
        and the relative distance of the outputs, "output_gap". "role" tells a training
        that chooses the flow time, where these are held-out samples, from the one that
        fits. "n_iter" counts the steps of both.
    members_ : list of estimator
        The members, each as a fitted estimator of its own.
    depth_smoothness_ : DepthSmoothness
        How smooth the weights are in depth.
    ode_gap_ : float
        Estimate of the gap to the neural ODE, by ``ode_gap``'s "richardson" at up to
        64 training samples; NaN where the weights are not smooth in depth, None for
        a model of another depth than was trained, and after ``partial_fit``.
    history_ : pandas.DataFrame
        The training, a row for every step of the flow or epoch.
    solver_ : solver object
        What the network was trained by.
    flow_time_ : float
        Flow time of the weights kept; None for mini-batch solvers.
    loss_ : float
        Objective of the model on all training samples; None after ``partial_fit``.
    loss_curve_ : list of float
        Objective at the end of every step of a flow, or its mean over every epoch.
    validation_flow_times_ : list of float
        Flow times of the following two; None without.
    validation_loss_curve_, validation_scores_ : list of float
        Log loss of the held-out samples (of labels that are not smoothed), and the
        score of ``scoring`` (for "loss", the accuracy), of all folds together; None
        without. Of several labels, the log losses are summed, and accuracy is the share
        of samples of which all labels are right.
    n_iter_ : int
        Number of steps of the flow, or of epochs.
    n_grad_evals_ : int
        Number of gradients computed, with those to choose the flow time, where one of
        all folds counts once.
    stop_reason_ : str
        "early_stopping", "horizon", "stationary", "max_evals", "max_epochs",
        "callback", "interrupted" or "diverged".
    converged_ : bool
        Whether training ended for one of the first three reasons, or a callback's.

    Notes
    -----
    The model and the theorems are those of P. Marion, Y.-H. Wu, M. E. Sander and
    G. Biau, *Implicit regularization of deep residual networks towards neural ODEs*,
    ICLR 2024.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from odenet import ResODEClassifier
    >>> X, y = make_moons(100, noise=0.1, random_state=0)
    >>> model = ResODEClassifier(depth=8, flow_time=20.0, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (100, 2)
    >>> bool(model.depth_smoothness_.von_neumann_ratio < 0.1)
    True

    Two labels at once:

    >>> labels = [[int(a > 0), int(b > 0)] for a, b in X]
    >>> model.fit(X, labels).predict_proba(X).shape, labels[0], model.predict(X)[0]
    ((100, 2), [0, 1], array([0, 1]))
    """

    _parameter_constraints = {
        **TableResODE._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        depth=64,
        *,
        width=64,
        state_dim=None,
        activation="gelu",
        init="tied",
        solver="auto",
        flow_time=None,
        depth_schedule="doubling",
        gap_tol=0.01,
        alpha=0.0,
        smoothness_penalty=0.0,
        early_stopping="auto",
        validation_fraction=0.1,
        validation_split="random",
        n_members=1,
        scoring="loss",
        standardize=True,
        categorical_features="from_dtype",
        min_frequency=2,
        max_categories=None,
        allow_nan=False,
        numeric_embedding="auto",
        monotonic_cst=None,
        class_weight=None,
        label_smoothing=0.05,
        backward="stored",
        callbacks=None,
        checkpoint=None,
        memory_limit=None,
        processes=None,
        device="auto",
        dtype="float32",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            depth,
            width=width,
            state_dim=state_dim,
            activation=activation,
            init=init,
            solver=solver,
            flow_time=flow_time,
            depth_schedule=depth_schedule,
            gap_tol=gap_tol,
            alpha=alpha,
            smoothness_penalty=smoothness_penalty,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            validation_split=validation_split,
            n_members=n_members,
            scoring=scoring,
            standardize=standardize,
            categorical_features=categorical_features,
            min_frequency=min_frequency,
            max_categories=max_categories,
            allow_nan=allow_nan,
            numeric_embedding=numeric_embedding,
            monotonic_cst=monotonic_cst,
            backward=backward,
            callbacks=callbacks,
            checkpoint=checkpoint,
            memory_limit=memory_limit,
            processes=processes,
            device=device,
            dtype=dtype,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
