"""Settings are refused in words that users of `torch.optim` know."""

import pytest
import torch
from thermolion import ThermoLion


def test_a_tensor_rate_of_several_elements_is_refused_as_torch_refuses_it():
    with pytest.raises(ValueError, match=r"Tensor lr must be 1-element.*shape \(2,\)"):
        ThermoLion([torch.zeros(2, requires_grad=True)], lr=torch.tensor([1e-3, 1e-3]))
