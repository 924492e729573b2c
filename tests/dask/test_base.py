"""What the estimators of Dask share: parameters, state, the way to a local model."""

import pickle
from inspect import signature

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from odenet import ResODEClassifier, ResODERegressor
from odenet._dask.base import learnt, local_class
from odenet.dask import DaskResODEClassifier, DaskResODERegressor
from odenet.solvers import AdamW
from tests.dask.samples import TINY, X, Y, arrays

KINDS = {
    DaskResODERegressor: ResODERegressor,
    DaskResODEClassifier: ResODEClassifier,
}


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_the_estimator_and_a_client(kind):
    assert local_class(kind) is KINDS[kind]
    own, local = (dict(signature(k).parameters) for k in (kind, KINDS[kind]))
    del own["client"], local["processes"], local["memory_limit"]
    assert own == local
    model = kind(16, width=8, client="a client")
    params = model.get_params()
    assert (params["depth"], params["client"]) == (16, "a client")
    assert set(params) == {*own, "client"}
    assert repr(model) == f"{kind.__name__}(client='a client', depth=16, width=8)"
    with pytest.raises(TypeError, match="processes"):
        kind(processes="group")


def test_copies_keep_the_client_and_pickles_do_not():
    class Client:
        def __deepcopy__(self, memo):
            raise AssertionError("a client is not copied")

    model = DaskResODERegressor(client=Client(), solver=AdamW())
    copied = clone(model)
    assert copied.client is model.client_ is model.client
    assert copied.solver is not model.solver
    assert pickle.loads(pickle.dumps(model)).client is None


def test_what_needs_a_fit_says_so():
    model = DaskResODERegressor()
    with pytest.raises(NotFittedError):
        model.to_local()
    assert learnt(model) == []
    assert not hasattr(model, "partial_fit")


@pytest.mark.cluster
def test_without_a_client_there_is_an_error():
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(distributed.client, "_get_global_client", lambda: None)
        with pytest.raises(ValueError, match="No clients found"):
            DaskResODERegressor().fit(*arrays(X, Y))


@pytest.mark.cluster
def test_a_fit_sets_all_and_a_failed_one_nothing(dask_cluster):
    model = DaskResODERegressor(flow_time=0.5, client=dask_cluster.client, **TINY)
    assert model.fit(*arrays(X, Y)) is model
    local = model.to_local()
    assert type(local) is ResODERegressor
    assert (local.depth_, local.n_features_in_) == (4, 3)
    np.testing.assert_array_equal(local.predict(X), model.predict(X))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    before = vars(model).copy()
    with pytest.raises(TypeError, match="use dask.array.from_array"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(*arrays(np.full_like(X, np.nan), Y))
    assert vars(model) == before


@pytest.mark.cluster
def test_warnings_name_the_caller_of_fit(dask_cluster):
    model = DaskResODERegressor(
        solver=AdamW(max_epochs=1), client=dask_cluster.client, **TINY
    )
    with pytest.warns(ConvergenceWarning, match="Training ended after 1") as caught:
        model.fit(*arrays(X, Y))
    assert caught[0].filename == __file__
