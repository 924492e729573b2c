"""The estimators as parts of scikit-learn's compositions.

What a composition does with them is compared with the same done by hand, which the
reproducible fits allow to the last bit.
"""

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from mapie.classification import SplitConformalClassifier
from mapie.regression import CrossConformalRegressor
from matplotlib import pyplot as plt
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.impute import SimpleImputer
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    permutation_importance,
)
from sklearn.linear_model import LinearRegression, Ridge, RidgeClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    get_scorer,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import estimator_html_repr

from odenet import ResODEClassifier, ResODERegressor, ResODERegressorCV
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

SMALL = {"depth": 2, "width": 8, "flow_time": 1.0, "random_state": 0}


def regressor(**settings):
    return ResODERegressor(**{**SMALL, **settings})


def classifier(**settings):
    return ResODEClassifier(**{**SMALL, **settings})


def outputs(model, X):
    return model.predict_proba(X) if is_classifier(model) else model.predict(X)


def assert_same_model(one, two, X):
    np.testing.assert_array_equal(outputs(one, X), outputs(two, X))


def differs(one, two, X):
    return not np.allclose(outputs(one, X), outputs(two, X), atol=1e-3)


def facts(pipeline, X, y):
    model = pipeline[-1]
    return {
        "r2": pipeline.score(X, y),
        "depth": model.module_.depth,
        "n_grad_evals": model.n_grad_evals_,
        "rtol": model.solver_.rtol,
    }


def n_iter(model, X, y):
    return model.n_iter_


def negative_error(y, predicted):
    return -mean_absolute_error(y, predicted)


def balanced(y, predicted):
    return balanced_accuracy_score(y, predicted)


def weighted_scorer(make):
    scorer = get_scorer("r2" if make is regressor else "accuracy")
    return scorer.set_score_request(sample_weight=True)


def at_weights(make, X, target, weight, rows=slice(None)):
    """A pipeline fitted by hand to some rows."""
    scaler = StandardScaler().fit(X[rows])
    sample_weight = None if weight is None else weight[rows]
    model = make().fit(scaler.transform(X[rows]), target[rows], sample_weight)
    return make_pipeline(scaler, model)


BOTH = pytest.mark.parametrize("make", [regressor, classifier])


@pytest.fixture
def X(rng):
    """Three columns, of which the last has no influence."""
    return rng.normal(size=(60, 3))


@pytest.fixture
def y(X):
    return 10 * X[:, 0] - 5 * X[:, 1] + 100


@pytest.fixture
def labels(y):
    return np.where(y > 100, "yes", "no")


@pytest.fixture
def target(request, y, labels):
    """What the estimator of a test parametrised by BOTH learns."""
    return y if request.getfixturevalue("make") is regressor else labels


@pytest.fixture
def weight(rng):
    return rng.integers(0, 5, size=60).astype(float)


@pytest.fixture
def frame(rng):
    """Numbers with gaps, and a text column that tells most."""
    age, size = rng.normal(40, 10, size=60), rng.normal(size=60)
    city = np.array(["Lyon", "Nice", "Paris"])[rng.permutation(60) % 3]
    table = pd.DataFrame({"age": age, "size": size, "city": city})
    table["target"] = table["city"].map({"Lyon": -30, "Nice": 0, "Paris": 30}) + age
    table.loc[::7, "age"] = np.nan
    return table


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def closing():
    yield
    plt.close("all")


class TestConformalPrediction:
    def test_mapie_wraps_a_regressor(self, X, y, rng):
        y = y + rng.normal(scale=5.0, size=60)
        conformal = CrossConformalRegressor(
            regressor(), confidence_level=0.8, cv=3, random_state=0
        ).fit_conformalize(X, y)
        predictions, intervals = conformal.predict_interval(X)
        low, high = intervals[..., 0].T
        assert ((low <= y) & (y <= high)).mean() > 0.6
        # Those of the folds, which are near that of all samples.
        all_samples = regressor().fit(X, y).predict(X)
        assert np.corrcoef(predictions, all_samples)[0, 1] > 0.95

    def test_mapie_wraps_a_fitted_classifier(self, X, labels):
        model = classifier().fit(X[:30], labels[:30])
        conformal = SplitConformalClassifier(model, confidence_level=0.8, prefit=True)
        conformal.conformalize(X[30:], labels[30:])
        predictions, sets = conformal.predict_set(X)
        np.testing.assert_array_equal(predictions, model.predict(X))
        assert sets.shape == (60, 2, 1)


class TestPipelines:
    @BOTH
    def test_the_last_step_learns_from_what_the_others_make(self, make, X, target):
        pipeline = make_pipeline(StandardScaler(), PCA(2), make()).fit(X, target)
        before = make_pipeline(StandardScaler(), PCA(2))
        by_hand = make().fit(before.fit_transform(X), target)
        np.testing.assert_array_equal(
            outputs(pipeline, X), outputs(by_hand, before.transform(X))
        )
        assert pipeline[-1].n_features_in_ == 2
        assert pipeline.n_features_in_ == 3
        assert is_classifier(pipeline) == (make is classifier)
        assert is_regressor(pipeline) == (make is regressor)
        assert_same_model(clone(pipeline).fit(X, target), pipeline, X)

    @BOTH
    def test_the_next_step_learns_from_the_states(self, make, X, target):
        last = Ridge() if make is regressor else RidgeClassifier()
        pipeline = make_pipeline(StandardScaler(), make(), last).fit(X, target)
        scaler = StandardScaler()
        model = make().fit(scaler.fit_transform(X), target)
        states = model.transform(scaler.transform(X))
        by_hand = clone(last).fit(states, target)
        np.testing.assert_array_equal(pipeline.predict(X), by_hand.predict(states))
        assert pipeline.score(X, target) > 0.9

    def test_states_keep_their_names_mid_pipeline(self, X, y):
        pipeline = make_pipeline(StandardScaler(), regressor(), LinearRegression())
        pipeline.set_output(transform="pandas").fit(X, y)
        names = pipeline[:-1].get_feature_names_out()
        assert list(names) == [f"resoderegressor{i}" for i in range(16)]
        assert list(pipeline[-1].feature_names_in_) == list(names)
        states = pipeline[:-1].transform(X)
        assert list(states.columns) == list(names)
        assert list(pipeline[1].feature_names_in_) == ["x0", "x1", "x2"]

    def test_states_stand_beside_the_inputs_in_a_union(self, X, y):
        union = make_union(regressor(state_dim=5), "passthrough").fit(X, y)
        both = union.transform(X)
        np.testing.assert_array_equal(
            both[:, :5], regressor(state_dim=5).fit(X, y).transform(X)
        )
        np.testing.assert_array_equal(both[:, 5:], X)
        assert union.get_feature_names_out()[4] == "resoderegressor__resoderegressor4"

    def test_a_fitted_step_comes_back_from_the_memory(
        self, X, y, tmp_path, monkeypatch
    ):
        pipeline = make_pipeline(regressor(), Ridge(), memory=str(tmp_path)).fit(X, y)
        monkeypatch.setattr(ResODERegressor, "_fit", None)
        again = clone(pipeline).set_params(ridge__alpha=2.0).fit(X, y)
        np.testing.assert_array_equal(again[0].transform(X), pipeline[0].transform(X))

    def test_a_text_column_counts_through_a_column_transformer(self, frame):
        columns = make_column_transformer(
            (SimpleImputer(add_indicator=True), ["age", "size"]),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
        )
        pipeline = make_pipeline(columns, regressor(flow_time=3.0))
        X, y = frame.drop(columns="target"), frame["target"]
        assert cross_val_score(pipeline, X, y, cv=3).min() > 0.85
        model = pipeline.fit(X, y)
        assert model[-1].n_features_in_ == 6
        new = pd.DataFrame({"age": [np.nan], "size": [0.0], "city": ["Metz"]})
        assert 0 < model.predict(new)[0] < 80
        without = columns.set_params(onehotencoder="drop")
        blind = make_pipeline(without, regressor(flow_time=3.0))
        assert cross_val_score(blind, X, y, cv=3).max() < 0.3

    @pytest.mark.parametrize("dtype", ["category", "str"])
    def test_a_frame_goes_straight_in_under_cross_validation(self, frame, dtype):
        X, y = frame.drop(columns="target"), frame["target"]
        X["city"] = X["city"].astype(dtype)
        model = regressor(allow_nan=True, flow_time=5.0)
        assert cross_val_score(model, X, y, cv=3).min() > 0.85

    def test_a_fold_may_lack_a_category(self, frame):
        X, y = frame[["city", "size"]].astype({"city": "category"}), frame["target"]
        city = X["city"].cat.codes.to_numpy()
        folds = [(np.flatnonzero(city != k), np.flatnonzero(city == k)) for k in (0, 2)]
        results = cross_validate(regressor(), X, y, cv=folds, return_estimator=True)
        assert np.isfinite(results["test_score"]).all()
        for model, (_, absent) in zip(results["estimator"], folds, strict=True):
            other = X.iloc[absent].assign(city=pd.Categorical(["Metz"] * len(absent)))
            np.testing.assert_array_equal(
                model.predict(X.iloc[absent]), model.predict(other)
            )

    def test_columns_are_made_categories_by_a_step_before(self, frame):
        columns = make_column_transformer(
            (SimpleImputer(), make_column_selector(dtype_include="number")),
            ("passthrough", ["city"]),
            verbose_feature_names_out=False,
        ).set_output(transform="pandas")
        X, y = frame.drop(columns="target"), frame["target"]
        pipeline = make_pipeline(columns, regressor(flow_time=3.0)).fit(X, y)
        assert list(pipeline[-1].feature_names_in_) == ["age", "size", "city"]
        assert pipeline.score(X, y) > 0.9

    def test_a_pipeline_is_drawn(self, X, y):
        pipeline = make_pipeline(StandardScaler(), regressor(solver=Flow(rtol=0.05)))
        for model in (pipeline, clone(pipeline).fit(X, y)):
            page = estimator_html_repr(model)
            assert "ResODERegressor" in page
            assert "Flow(rtol=0.05)" in page


class TestSearches:
    def test_a_grid_search_fits_what_its_table_says(self, X, y):
        solver = Flow()
        search = GridSearchCV(
            make_pipeline(StandardScaler(), regressor(solver=solver)),
            {
                "resoderegressor__depth": [1, 4],
                "resoderegressor__solver__rtol": [1e-1, 1e-4],
            },
            scoring=facts,
            refit="r2",
            cv=KFold(2),
        )
        found = search.fit(X, y).cv_results_
        depth, rtol = (
            found[f"param_resoderegressor__{name}"].astype(float)
            for name in ("depth", "solver__rtol")
        )
        np.testing.assert_array_equal(found["mean_test_depth"], depth)
        np.testing.assert_array_equal(found["mean_test_rtol"], rtol)
        n_evals = found["mean_test_n_grad_evals"].reshape(2, 2)
        assert (n_evals[:, 1] > n_evals[:, 0]).all()
        best = clone(search.estimator).set_params(**search.best_params_).fit(X, y)
        assert_same_model(search, best, X)
        assert solver.rtol == 1e-2

    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_two_workers_find_what_one_does(self, backend, X, labels):
        grid = {"depth": [1, 2], "solver__rtol": [1e-2, 1e-5]}
        model = classifier(solver=Flow())
        one, two = (
            GridSearchCV(model, grid, cv=2, scoring="neg_log_loss", n_jobs=n_jobs)
            for n_jobs in (1, 2)
        )
        one.fit(X, labels)
        with joblib.parallel_config(backend=backend):
            two.fit(X, labels)
        for split in ("split0_test_score", "split1_test_score"):
            scores = one.cv_results_[split]
            np.testing.assert_array_equal(two.cv_results_[split], scores)
            assert len(set(scores)) == 4
        assert_same_model(one, two, X)

    def test_a_grid_search_over_the_step_of_descent(self, X, labels):
        rates = {"solver__learning_rate": [0.5, 0.125]}
        model = classifier(solver=GradientDescent(), flow_time=2.0)
        search = GridSearchCV(model, rates, cv=2, scoring=n_iter).fit(X, labels)
        np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [4, 16])
        assert search.best_estimator_.solver_.learning_rate == 0.125

    def test_a_grid_search_over_solvers(self, X, y):
        solvers = [
            "flow",
            GradientDescent(0.25),
            AdamW(max_epochs=3),
            SGD(max_epochs=2),
        ]
        search = GridSearchCV(regressor(), {"solver": solvers}, cv=2, scoring=n_iter)
        found = search.fit(X, y).cv_results_["mean_test_score"]
        np.testing.assert_array_equal(found[1:], [4, 3, 2])

    def test_halving_ends_with_the_best_on_all_samples(self, X, y):
        search = HalvingRandomSearchCV(
            regressor(),
            {"depth": [1, 2, 3, 4], "solver__rtol": [0.01, 0.1]},
            n_candidates=4,
            factor=2,
            min_resources=15,
            resource="n_samples",
            cv=2,
            random_state=0,
        )
        search.set_params(estimator__solver=Flow()).fit(X, y)
        assert search.n_resources_ == [15, 30, 60]
        assert search.n_candidates_ == [4, 2, 1]
        best = regressor(solver=Flow()).set_params(**search.best_params_).fit(X, y)
        assert_same_model(search, best, X)

    @BOTH
    def test_scores_are_those_of_the_estimators_returned(self, make, X, target):
        metrics = {
            regressor: {"r2": r2_score, "neg_mean_absolute_error": negative_error},
            classifier: {"accuracy": accuracy_score, "balanced_accuracy": balanced},
        }[make]
        cv = KFold(3, shuffle=True, random_state=0)
        results = cross_validate(
            make(),
            X,
            target,
            cv=cv,
            scoring=list(metrics),
            return_train_score=True,
            return_estimator=True,
        )
        for k, (train, test) in enumerate(cv.split(X)):
            model = results["estimator"][k]
            assert_same_model(model, make().fit(X[train], target[train]), X)
            for name, metric in metrics.items():
                for part, rows in (("train", train), ("test", test)):
                    score = metric(target[rows], model.predict(X[rows]))
                    assert results[f"{part}_{name}"][k] == pytest.approx(score)

    def test_probabilities_are_of_models_that_have_not_seen_the_row(self, X, labels):
        cv = StratifiedKFold(3)
        found = cross_val_predict(
            classifier(), X, labels, cv=cv, method="predict_proba"
        )
        for train, test in cv.split(X, labels):
            model = classifier().fit(X[train], labels[train])
            np.testing.assert_array_equal(found[test], model.predict_proba(X[test]))

    @BOTH
    def test_depth_hardly_matters_in_a_validation_curve(self, make, X, target):
        scores = validation_curve(
            make(depth=4),
            X,
            target,
            param_name="depth",
            param_range=[1, 2, 4],
            cv=KFold(2),
            scoring="r2" if make is regressor else "neg_log_loss",
        )
        for part in scores:
            assert part.shape == (3, 2)
            np.testing.assert_allclose(part[1], part[2], atol=0.03)
            assert (part[0] != part[1]).all()

    def test_more_samples_score_better_in_a_learning_curve(self, X, y):
        sizes, train, test = learning_curve(
            regressor(), X, y, train_sizes=[4, 12, 40], cv=3
        )
        np.testing.assert_array_equal(sizes, [4, 12, 40])
        assert (np.diff(test.mean(axis=1)) > 0).all()
        assert (train > 0.9).all()

    @BOTH
    def test_features_that_matter_are_selected(self, make, X, target):
        X = X[:, [2, 0, 1]]
        selector = SequentialFeatureSelector(make(), n_features_to_select=2, cv=2)
        pipeline = make_pipeline(selector, make()).fit(X, target)
        np.testing.assert_array_equal(selector.get_support(), [False, True, True])
        assert pipeline[-1].n_features_in_ == 2

    def test_a_path_chooses_in_every_fold_by_itself(self, X, y):
        path = ResODERegressorCV(
            [1, 2], flow_times=[0.1, 1.0], width=8, cv=2, random_state=0
        )
        pipeline = make_pipeline(StandardScaler(), path, Ridge(1e-3))
        cv = KFold(2)
        results = cross_validate(pipeline, X, y, cv=cv, return_estimator=True)
        assert results["test_score"].min() > 0.8
        for k, (train, _) in enumerate(cv.split(X)):
            inner = StandardScaler().fit_transform(X[train])
            alone = clone(path).fit(inner, y[train])
            fitted = results["estimator"][k][1]
            assert fitted.best_score_ == alone.best_score_
            assert_same_model(fitted, alone, inner)
        search = GridSearchCV(
            make_pipeline(StandardScaler(), path),
            {"resoderegressorcv__flow_times": [[0.01], [1.0]]},
            cv=2,
        ).fit(X, y)
        assert search.best_estimator_[-1].flow_time_ == 1.0

    def test_a_threshold_is_tuned(self, X, y):
        rare = (y > np.quantile(y, 0.8)).astype(int)
        model = classifier(flow_time=0.5)
        tuned = TunedThresholdClassifierCV(
            model, scoring="balanced_accuracy", cv=2, random_state=0
        ).fit(X, rare)
        assert_same_model(tuned.estimator_, model.fit(X, rare), X)
        share = model.predict_proba(X)[:, 1]
        np.testing.assert_array_equal(tuned.predict(X), share >= tuned.best_threshold_)
        plain = balanced_accuracy_score(rare, model.predict(X))
        assert balanced_accuracy_score(rare, tuned.predict(X)) > plain + 0.1


class TestEnsembles:
    def test_stacked_regressors(self, X, y):
        pair = [("deep", regressor(depth=4)), ("flat", regressor(activation="tanh"))]
        stack = StackingRegressor(pair, LinearRegression(), cv=KFold(2)).fit(X, y)
        single = [model.fit(X, y).predict(X) for _, model in pair]
        np.testing.assert_array_equal(stack.transform(X), np.column_stack(single))
        unseen = [cross_val_predict(model, X, y, cv=KFold(2)) for _, model in pair]
        final = LinearRegression().fit(np.column_stack(unseen), y)
        np.testing.assert_allclose(stack.final_estimator_.coef_, final.coef_)
        assert stack.score(X, y) > 0.9

    def test_stacked_classifiers(self, X, labels):
        pair = [("net", classifier()), ("bayes", GaussianNB())]
        stack = StackingClassifier(pair, RidgeClassifier(), cv=2).fit(X, labels)
        assert stack.stack_method_ == ["predict_proba"] * 2
        net = classifier().fit(X, labels).predict_proba(X)[:, 1]
        np.testing.assert_array_equal(stack.transform(X)[:, 0], net)
        assert stack.score(X, labels) > 0.85

    def test_a_network_is_the_final_estimator_of_a_stack(self, X, labels):
        stack = StackingClassifier([("bayes", GaussianNB())], classifier(), cv=2)
        assert stack.fit(X, labels).score(X, labels) > 0.8
        assert stack.final_estimator_.n_features_in_ == 1

    def test_a_soft_vote_is_the_mean_of_probabilities(self, X, labels):
        pair = [("net", classifier()), ("bayes", GaussianNB())]
        vote = VotingClassifier(pair, voting="soft", weights=[3, 1]).fit(X, labels)
        net, bayes = (model.fit(X, labels).predict_proba(X) for _, model in pair)
        np.testing.assert_allclose(vote.predict_proba(X), (3 * net + bayes) / 4)
        assert set(vote.predict(X)) == {"no", "yes"}

    @BOTH
    def test_a_bag_holds_fits_of_its_bootstrap_samples(self, make, X, target):
        """Whether it hands them over as rows or as weights."""
        bag = BaggingRegressor if make is regressor else BaggingClassifier
        bag = bag(make(), 8, max_samples=0.5, oob_score=True, random_state=1)
        bag.fit(X, target)
        rows = bag.estimators_samples_[1]
        assert len(set(rows)) < len(rows) == 30
        coded = target if make is regressor else np.searchsorted(["no", "yes"], target)
        member = bag.estimators_[1]
        by_hand = clone(member).fit(X[rows], coded[rows])
        assert_same_model(member, by_hand, X)
        assert differs(member, bag.estimators_[2], X)
        mean = np.mean([outputs(member, X) for member in bag.estimators_], axis=0)
        np.testing.assert_allclose(outputs(bag, X), mean)
        assert bag.oob_score_ > 0.8

    def test_several_outputs_go_through_a_bag(self, X, y):
        Y = np.column_stack([y, X[:, 1]])
        bag = BaggingRegressor(regressor(), 2, max_features=2, random_state=0)
        mean = bag.fit(X, Y).predict(X)
        assert mean.shape == (60, 2)
        members = zip(bag.estimators_, bag.estimators_features_, strict=True)
        parts = [member.predict(X[:, columns]) for member, columns in members]
        np.testing.assert_allclose(mean, np.mean(parts, axis=0))

    def test_boosting_a_classifier_weighs_its_mistakes(self, X, labels, rng):
        noisy = np.where(rng.random(60) < 0.2, "no", labels)
        model = classifier(random_state=None)
        boost = AdaBoostClassifier(model, n_estimators=2, random_state=0)
        one, two = boost.fit(X, noisy).estimators_
        wrong = one.predict(X) != noisy
        assert 0 < wrong.sum() < 30
        weight = np.exp(boost.estimator_weights_[0] * wrong)
        by_hand = clone(two).fit(X, noisy, sample_weight=weight)
        np.testing.assert_allclose(outputs(two, X), outputs(by_hand, X), atol=1e-4)
        assert differs(two, clone(two).fit(X, noisy), X)

    def test_boosting_a_regressor_lowers_its_error(self, X, y):
        model = regressor(flow_time=0.3)
        boost = AdaBoostRegressor(model, n_estimators=4, random_state=0).fit(X, y)
        assert len({member.random_state for member in boost.estimators_}) == 4
        assert (boost.estimator_errors_ < 0.5).all()
        assert boost.score(X, y) > 0.5

    @pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
    def test_calibration_averages_the_folds(self, method, X, labels):
        cv = StratifiedKFold(2)
        model = CalibratedClassifierCV(classifier(), method=method, cv=cv)
        model.fit(X, labels)
        for part, (train, _) in zip(
            model.calibrated_classifiers_, cv.split(X, labels), strict=True
        ):
            by_hand = classifier().fit(X[train], labels[train])
            np.testing.assert_array_equal(
                part.estimator.decision_function(X), by_hand.decision_function(X)
            )
        assert model.score(X, labels) > 0.85
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)

    def test_calibration_of_a_frozen_network_trains_nothing(
        self, X, labels, rng, monkeypatch
    ):
        frozen = pytest.importorskip("sklearn.frozen")
        model = classifier(flow_time=10.0).fit(X, labels)
        other = np.where(labels == "yes", "no", "yes")
        noisy = np.where(rng.random(60) < 0.3, other, labels)
        monkeypatch.setattr(ResODEClassifier, "_fit", None)
        calibrated = CalibratedClassifierCV(frozen.FrozenEstimator(model))
        calibrated.fit(X, noisy)
        assert list(calibrated.classes_) == ["no", "yes"]
        before, after = (
            log_loss(noisy, one.predict_proba(X)) for one in (model, calibrated)
        )
        assert after < before - 0.05

    @pytest.mark.parametrize("decompose", [OneVsRestClassifier, OneVsOneClassifier])
    def test_many_classes_by_networks_of_two(self, decompose):
        X, y = load_iris(return_X_y=True)
        names = np.array(["setosa", "versicolor", "virginica"])[y]
        X, names = X[::3], names[::3]
        model = decompose(classifier(flow_time=3.0)).fit(X, names)
        assert len(model.estimators_) == 3
        assert model.score(X, names) > 0.9
        if decompose is OneVsRestClassifier:
            parts = [
                classifier(flow_time=3.0).fit(X, names == name).decision_function(X)
                for name in model.classes_
            ]
            np.testing.assert_array_equal(
                model.decision_function(X), np.column_stack(parts)
            )

    def test_one_network_for_every_label(self, X):
        Y = (X > 0).astype(int)
        model = OneVsRestClassifier(classifier()).fit(X, Y)
        assert model.multilabel_
        shares = [classifier().fit(X, column).predict_proba(X)[:, 1] for column in Y.T]
        np.testing.assert_array_equal(model.predict_proba(X), np.column_stack(shares))

    def test_one_network_for_all_labels(self, X):
        """In a pipeline, a search and a cross-validation, dense or sparse."""
        Y = (X > 0).astype(int)
        pipeline = make_pipeline(StandardScaler(), classifier())
        grid = {"resodeclassifier__flow_time": [0.01, 10.0]}
        search = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
        assert search.best_params_ == {"resodeclassifier__flow_time": 10.0}
        sparse = GridSearchCV(pipeline, grid, cv=3).fit(X, csr_array(Y))
        assert_same_model(search, sparse, X)
        assert search.score(X, csr_array(Y)) == accuracy_score(Y, search.predict(X))
        model, cv = classifier(flow_time=10.0), KFold(3)
        p = cross_val_predict(model, X, Y, cv=cv, method="predict_proba")
        for train, test in cv.split(X):
            part = clone(model).fit(X[train], Y[train])
            np.testing.assert_array_equal(p[test], part.predict_proba(X[test]))
        scores = cross_val_score(model, X, Y, cv=cv, scoring="roc_auc")
        expected = [roc_auc_score(Y[test], p[test]) for _, test in cv.split(X)]
        np.testing.assert_allclose(scores, expected)


class TestTargets:
    @pytest.mark.parametrize("shape", [(60,), (60, 1)])
    def test_a_transformed_target_comes_back_in_its_units_and_shape(self, shape, X, y):
        y = np.exp((y - 100) / 10)
        model = TransformedTargetRegressor(
            regressor(), func=np.log, inverse_func=np.exp
        )
        found = model.fit(X, y.reshape(shape)).predict(X)
        assert found.shape == shape
        by_hand = np.exp(regressor().fit(X, np.log(y)).predict(X))
        np.testing.assert_allclose(found.ravel(), by_hand)
        assert model.score(X, y.reshape(shape)) > 0.7

    def test_several_transformed_targets(self, X, y):
        Y = np.column_stack([y, X[:, 1]])
        model = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
        scaler = StandardScaler()
        by_hand = regressor().fit(X, scaler.fit_transform(Y)).predict(X)
        np.testing.assert_allclose(
            model.fit(X, Y).predict(X), scaler.inverse_transform(by_hand)
        )

    def test_one_network_for_every_output(self, X, y, weight):
        Y = np.column_stack([y, X[:, 1]])
        model = MultiOutputRegressor(regressor()).fit(X, Y, sample_weight=weight)
        columns = [
            regressor().fit(X, column, sample_weight=weight).predict(X)
            for column in Y.T
        ]
        np.testing.assert_array_equal(model.predict(X), np.column_stack(columns))
        assert differs(model, MultiOutputRegressor(regressor()).fit(X, Y), X)

    def test_one_network_for_every_kind_of_class(self, X, labels):
        Y = np.column_stack([labels, np.where(X[:, 1] > 0, "up", "down")])
        model = MultiOutputClassifier(classifier()).fit(X, Y)
        for column, shares in zip(Y.T, model.predict_proba(X), strict=True):
            np.testing.assert_array_equal(
                shares, classifier().fit(X, column).predict_proba(X)
            )
        assert set(model.predict(X).ravel()) == {"no", "yes", "up", "down"}

    def test_networks_of_many_outputs_learn_from_parts(self, X, labels):
        Y = np.column_stack([labels, np.where(X[:, 1] > 0, "up", "down")])
        classes = [["no", "yes"], ["down", "up"]]
        model = MultiOutputClassifier(classifier(solver=AdamW(), flow_time=None))
        for _ in range(20):
            model.partial_fit(X[:30], Y[:30], classes=classes)
            model.partial_fit(X[30:], Y[30:])
        assert [member.n_iter_ for member in model.estimators_] == [40, 40]
        assert (model.predict(X) == Y).mean() > 0.9
        assert not hasattr(MultiOutputClassifier(classifier()), "partial_fit")

    def test_a_chain_of_regressors_reads_the_outputs_before(self, X, y):
        Y = np.column_stack([y, y**2])
        chain = RegressorChain(regressor(), order=[0, 1]).fit(X, Y)
        first = regressor().fit(X, y).predict(X)
        second = regressor().fit(np.column_stack([X, y]), y**2)
        np.testing.assert_array_equal(
            chain.predict(X),
            np.column_stack([first, second.predict(np.column_stack([X, first]))]),
        )

    def test_a_chain_of_classifiers_reads_the_labels_before(self, X):
        Y = np.column_stack([X[:, 0] > 0, X[:, 0] * X[:, 1] > 0]).astype(int)
        chain = ClassifierChain(classifier(), order=[0, 1], cv=2).fit(X, Y)
        seen = cross_val_predict(classifier(), X, Y[:, 0], cv=2)
        second = classifier().fit(np.column_stack([X, seen]), Y[:, 1])
        first = classifier().fit(X, Y[:, 0]).predict(X)
        np.testing.assert_array_equal(
            chain.predict_proba(X)[:, 1],
            second.predict_proba(np.column_stack([X, first]))[:, 1],
        )


@pytest.mark.usefixtures("closing")
class TestInspection:
    @BOTH
    def test_importance_is_that_of_the_features(self, make, X, target):
        model = make_pipeline(StandardScaler(), make()).fit(X, target)
        found = permutation_importance(model, X, target, n_repeats=5, random_state=0)
        first, second, irrelevant = found.importances_mean
        assert first > second > irrelevant + 0.05
        assert irrelevant < 0.05

    def test_partial_dependence_is_the_slope(self, X, y):
        model = regressor(flow_time=3.0).fit(X, y)
        display = PartialDependenceDisplay.from_estimator(
            model, X, [0, 1, 2], grid_resolution=7
        )
        for found, slope in zip(display.pd_results, (10, -5, 0), strict=True):
            line = np.polyfit(found["grid_values"][0], found["average"][0], 1)
            assert line[0] == pytest.approx(slope, abs=1.5)
        assert len(display.lines_.ravel()) == 3

    def test_partial_dependence_of_a_class(self, X):
        y = np.array(["low", "mid", "top"])[np.digitize(X[:, 0], [-0.4, 0.4])]
        model = classifier(flow_time=5.0).fit(X, y)
        display = PartialDependenceDisplay.from_estimator(
            model, X, [0], target="top", grid_resolution=7
        )
        average = display.pd_results[0]["average"][model.classes_.tolist().index("top")]
        assert (np.diff(average) > 0).all()
        assert average[0] < 0.2
        assert average[-1] > 0.7

    @pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
    def test_a_decision_boundary_is_where_the_responses_say(self, method, X, labels):
        model = classifier().fit(X[:, :2], labels)
        display = DecisionBoundaryDisplay.from_estimator(
            model, X[:, :2], response_method=method, grid_resolution=9
        )
        grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
        found = getattr(model, method)(grid)
        found = found[:, 1] if method == "predict_proba" else found
        np.testing.assert_array_equal(display.response.ravel(), found)
        assert display.surface_.levels.size > 3


class TestRouting:
    @BOTH
    def test_weights_reach_the_last_step_by_its_name(self, make, X, target, weight):
        pipeline = make_pipeline(StandardScaler(), make())
        pipeline.fit(X, target, **{f"{pipeline.steps[-1][0]}__sample_weight": weight})
        assert_same_model(pipeline, at_weights(make, X, target, weight), X)
        assert differs(pipeline, at_weights(make, X, target, None), X)

    @pytest.mark.usefixtures("routing")
    @BOTH
    def test_weights_reach_every_fold_through_a_pipeline(self, make, X, target, weight):
        model = make().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), model
        )
        cv = KFold(2)
        results = cross_validate(
            pipeline,
            X,
            target,
            cv=cv,
            scoring=weighted_scorer(make),
            params={"sample_weight": weight},
            return_estimator=True,
        )
        for k, (train, test) in enumerate(cv.split(X)):
            fitted = results["estimator"][k]
            assert_same_model(fitted, at_weights(make, X, target, weight, train), X)
            assert differs(fitted, at_weights(make, X, target, None, train), X)
            score = fitted.score(X[test], target[test], sample_weight=weight[test])
            assert results["test_score"][k] == pytest.approx(score)

    @pytest.mark.usefixtures("routing")
    @BOTH
    def test_weights_reach_the_best_of_a_grid(self, make, X, target, weight):
        model = make().set_fit_request(sample_weight=True)
        pipeline = Pipeline(
            [
                ("scale", StandardScaler().set_fit_request(sample_weight=False)),
                ("net", model),
            ]
        )
        scoring = weighted_scorer(make)
        search = GridSearchCV(
            pipeline, {"net__depth": [2]}, cv=KFold(2), scoring=scoring
        )
        search.fit(X, target, sample_weight=weight)
        assert_same_model(search, at_weights(make, X, target, weight), X)
        assert differs(search, at_weights(make, X, target, None), X)
        train, test = next(KFold(2).split(X))
        predicted = at_weights(make, X, target, weight, train).predict(X[test])
        metric = r2_score if make is regressor else accuracy_score
        score = metric(target[test], predicted, sample_weight=weight[test])
        assert search.cv_results_["split0_test_score"][0] == pytest.approx(score)

    @pytest.mark.usefixtures("routing")
    def test_weights_reach_a_step_in_the_middle(self, X, y, weight):
        model = regressor().set_fit_request(sample_weight=True)
        last = Ridge().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(model, last).fit(X, y, sample_weight=weight)
        weighted = regressor().fit(X, y, sample_weight=weight)
        assert_same_model(pipeline[0], weighted, X)
        assert differs(pipeline[0], regressor().fit(X, y), X)

    @pytest.mark.usefixtures("routing")
    @BOTH
    def test_weights_that_nobody_asked_for_are_refused(self, make, X, target, weight):
        pipeline = make_pipeline(StandardScaler(), make())
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            pipeline.fit(X, target, sample_weight=weight)
        ignored = make().set_fit_request(sample_weight=False)
        bag = BaggingRegressor if make is regressor else BaggingClassifier
        assert "sample_weight" not in bag(ignored).get_metadata_routing().consumes(
            "fit", ["sample_weight"]
        )

    @pytest.mark.usefixtures("routing")
    @BOTH
    def test_validation_samples_are_transformed_on_the_way(self, make, X, target):
        model = make(flow_time=20.0).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("net", model)], transform_input=["X_val"]
        )
        train, validation = slice(0, 30), slice(30, 60)
        samples = {"X_val": 10 * X[validation], "y_val": target[validation]}
        pipeline.fit(10 * X[train], target[train], **samples)
        scaler = StandardScaler().fit(10 * X[train])
        by_hand = make(flow_time=20.0).fit(
            scaler.transform(10 * X[train]),
            target[train],
            X_val=scaler.transform(10 * X[validation]),
            y_val=target[validation],
        )
        fitted = pipeline[-1]
        assert len(fitted.validation_loss_curve_) > 1
        assert fitted.validation_loss_curve_ == by_hand.validation_loss_curve_
        assert_same_model(fitted, by_hand, X)

    @pytest.mark.usefixtures("routing")
    def test_a_stack_hands_the_weights_on(self, X, y, weight):
        model = regressor().set_fit_request(sample_weight=True)
        last = LinearRegression().set_fit_request(sample_weight=True)
        stack = StackingRegressor([("net", model)], last, cv=2)
        stack.fit(X, y, sample_weight=weight)
        weighted = regressor().fit(X, y, sample_weight=weight)
        assert_same_model(stack.estimators_[0], weighted, X)
        assert differs(stack.estimators_[0], regressor().fit(X, y), X)

    @pytest.mark.usefixtures("routing")
    def test_what_is_asked_for_survives_a_clone(self):
        model = clone(classifier().set_fit_request(sample_weight=True))
        asked = model.get_metadata_routing().consumes("fit", ["sample_weight", "X_val"])
        assert asked == {"sample_weight"}
