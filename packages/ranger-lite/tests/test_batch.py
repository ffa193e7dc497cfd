"""Batches: fields by name, chosen, split and seen as real numbers."""

import torch
from rangerlite._batch import Batch, as_real_local


def batch(n=3, **columns):
    tensors = {name: [torch.full((2,), float(i)) for i in range(n)] for name in ("theta", "grad", "m", "v", "step")}
    return Batch.empty()._replace(**(tensors | columns))


def test_selected_parameters_keep_their_columns_together():
    chosen = batch().select([2, 0])
    assert [x[0].item() for x in chosen.theta] == [2.0, 0.0]
    assert [x[0].item() for x in chosen.v] == [2.0, 0.0]
    assert chosen.phi == []
    assert chosen.mu == []


def test_splitting_keeps_every_parameter_once_and_in_order():
    parts = batch(4).split(["a", "b", "a", "a"])
    assert {key: [x[0].item() for x in part.m] for key, part in parts.items()} == {"a": [0.0, 2.0, 3.0], "b": [1.0]}


def test_splitting_what_is_alike_gives_it_back():
    whole = batch()
    assert whole.split([7, 7, 7])[7] is whole


def test_real_local_tensors_pass_as_they_are():
    whole = batch()
    assert as_real_local(whole, has_complex=False) is whole


def test_complex_tensors_become_real_views_of_the_same_memory():
    z = torch.complex(torch.ones(2), torch.zeros(2))
    seen = as_real_local(batch(1, theta=[z]), has_complex=True)
    seen.theta[0][0, 1] = 5.0
    assert z[0] == 1 + 5j
    assert seen.m[0].shape == (2,)
