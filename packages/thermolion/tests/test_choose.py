"""Which path a batch takes, seen on tensors that claim to be on CUDA; what is slower warns once."""

import warnings

import pytest
import torch
from thermolion import ThermoLion
from thermolion._batch import Batch
from thermolion._paths import blocks, choose, foreach, fused_cuda, reference
from torch._subclasses.fake_tensor import FakeTensorMode


def batch_on(device, temperature=1.0, dtype=torch.float32, **settings):
    group = ThermoLion([torch.zeros(1, requires_grad=True)], **settings).param_groups[0]
    with FakeTensorMode():
        tensors = [torch.empty(8, device=device, dtype=dtype) for _ in range(4)]
        v_mean = torch.empty((), device=device)
    batch = Batch(group, warm=temperature > 0.01)
    batch.add(*tensors[:2], (*tensors[2:], v_mean), 1, temperature, 0)
    return batch


@pytest.fixture(autouse=True)
def working_triton(monkeypatch):
    choose._warn_once.cache_clear()
    monkeypatch.setattr(fused_cuda, "_why_broken", lambda device: "")


@pytest.mark.parametrize("settings", [{}, {"capturable": True}, {"maximize": True}, {"lr": torch.tensor(0.1)}], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_on_cuda_the_default_is_the_kernel_and_says_nothing(settings, temperature, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose.choose_path(batch_on("cuda", temperature, dtype, **settings)) is fused_cuda.step


def test_flags_keep_their_meaning_on_cuda():
    assert choose.choose_path(batch_on("cuda", foreach=True)) is foreach.step
    assert choose.choose_path(batch_on("cuda", foreach=False)) is reference.step
    assert choose.choose_path(batch_on("cuda", fused=True)) is fused_cuda.step
    assert choose.choose_path(batch_on("cuda", foreach=False, fused=False)) is reference.step


def test_what_is_slower_warns_once(monkeypatch):
    with pytest.warns(UserWarning, match="slower than its Triton kernels: they take neither noise"):
        assert choose.choose_path(batch_on("cuda", noise="global")) is foreach.step
    monkeypatch.setattr(fused_cuda, "_why_broken", lambda device: "RuntimeError: no Triton")
    with pytest.warns(UserWarning, match="slower than its Triton kernels: RuntimeError: no Triton"):
        assert choose.choose_path(batch_on("cuda")) is foreach.step
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose.choose_path(batch_on("cuda")) is foreach.step


def test_a_broken_triton_is_found_out(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(fused_cuda, "find_spec", lambda name: None)
    fused_cuda._why_broken.cache_clear()
    assert "needs Triton" in fused_cuda._why_broken(torch.device("cpu"))
    fused_cuda._why_broken.cache_clear()


def test_on_the_cpu_the_default_never_compiles():
    assert choose.choose_path(batch_on("cpu")) is blocks.step
    assert choose.choose_path(batch_on("cpu", dtype=torch.float64)) is reference.step
    assert choose.choose_path(batch_on("cpu", foreach=True)) is foreach.step


def test_a_learning_rate_in_the_host_s_memory_is_a_number_on_cuda():
    rate = torch.tensor(0.1)
    assert batch_on("cuda", lr=rate).coefficients.lr == rate.item()
    assert isinstance(batch_on("cpu", lr=rate).coefficients.lr, torch.Tensor)
