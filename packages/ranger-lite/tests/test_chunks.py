"""Chunks: together they are the batch, each within its size, and what is written to them arrives."""

import pytest
import torch
from rangerlite._batch import Batch
from rangerlite._paths import chunks as module
from rangerlite._paths.chunks import chunk_size, chunks

SHAPES = [(3,), (4, 5), (), (0,), (9000,), (40, 30), (700, 400)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "GRAIN", 20000)
    monkeypatch.setattr(module, "SMALL", 1000)


def batch(shapes=SHAPES, **more):
    columns = {name: [torch.randn(shape) for shape in shapes] for name in ("theta", "grad", "m", "v")}
    return Batch.empty()._replace(**columns, **more)


def test_every_element_is_visited_once():
    whole = batch()
    before = [x.clone() for x in whole.theta]
    for chunk in chunks(whole):
        for theta in chunk.theta:
            theta.add_(1)
    assert all(torch.equal(x, y + 1) for x, y in zip(whole.theta, before, strict=True))


def test_no_chunk_is_larger_than_its_size_and_small_tensors_share_one():
    lengths = [[theta.numel() for theta in chunk.theta] for chunk in chunks(batch())]
    assert all(sum(found) <= chunk_size() for found in lengths)
    assert sum(map(sum, lengths)) == sum(torch.Size(shape).numel() for shape in SHAPES)
    assert len(lengths) < len(SHAPES) - 2 + 280000 / 20000 + 1


def test_columns_are_cut_alike():
    whole = batch()
    for m, theta in zip(whole.m, whole.theta, strict=True):
        m.copy_(theta)
    for chunk in chunks(whole):
        assert all(map(torch.equal, chunk.m, chunk.theta))


def test_gradients_are_never_written():
    whole = batch([(3,), (5,)])
    before = [x.clone() for x in whole.grad]
    for chunk in chunks(whole):
        chunk.grad[0].zero_()  # a pack of them, not the gradients
    assert all(map(torch.equal, whole.grad, before))


def test_empty_columns_stay_empty():
    assert all(chunk.phi == [] and chunk.mu == [] and chunk.step == [] for chunk in chunks(batch()))


def test_tensors_that_are_not_contiguous_stay_whole():
    whole = batch([(300, 200)])
    whole = whole._replace(theta=[torch.randn(200, 300).T])
    assert [chunk.theta[0].shape for chunk in chunks(whole)] == [(300, 200)]
