import subprocess
import sys

import pytest
import torch

from odenet._optim.optimizer import Optimizer


def test_groups_are_those_of_torch():
    p, q = (torch.zeros(2, requires_grad=True) for _ in range(2))
    optimizer = Optimizer([{"params": [p], "lr": 3.0}], {"lr": 1.0})
    optimizer.add_param_group({"params": q})
    assert [group["lr"] for group in optimizer.param_groups] == [3.0, 1.0]
    assert optimizer.param_groups[1]["params"][0] is q
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [p]})


@pytest.mark.parametrize("solver", ["flow", "gd", "adamw"])
def test_a_fit_does_not_import_torchs_compiler(solver):
    code = (
        "import sys\n"
        "from odenet import ResODERegressor\n"
        f"model = ResODERegressor(2, width=4, solver={solver!r}, flow_time=None)\n"
        "model.set_params(early_stopping=False)\n"
        "if model.solver != 'adamw': model.flow_time = 0.1\n"
        "model.fit([[0.0], [1.0], [2.0]], [1, 2, 3])\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
