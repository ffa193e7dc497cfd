import copy
import warnings

import pytest
import torch
from models import FACTORED, LOOPED, NoRule
from reference import dense_members, relative
from torch import nn
from torcheggroll import TorchEggrollES


def strategy(make, engine, **settings):
    torch.manual_seed(1)
    return TorchEggrollES(
        make().double(), **{"pop_size": 6, "sigma": 0.3, "seed": 4, "rank": 2, **settings}, engine=engine
    )


def double(x):
    return x.double() if x.is_floating_point() else x


@pytest.mark.parametrize("engine", ["vmap", "fold", "loop", "auto"])
@pytest.mark.parametrize("label", FACTORED)
def test_every_op_equals_dense_members(label, engine):
    make, draw = FACTORED[label]
    es, x = strategy(make, engine), double(draw())
    want = torch.stack([model(x) for model in dense_members(es)]).detach()
    assert relative(es.forward(x), want) < 1e-12


@pytest.mark.parametrize("engine", ["vmap", "fold"])
@pytest.mark.parametrize("label", FACTORED)
def test_every_op_equals_dense_members_in_float32(label, engine):
    make, draw = FACTORED[label]
    es = TorchEggrollES(make(), pop_size=6, sigma=0.3, seed=4, rank=2, engine=engine)
    x = draw()
    want = torch.stack([model(x) for model in dense_members(es)]).detach()
    assert relative(es.forward(x), want) < 1e-5


@pytest.mark.parametrize("engine", ["vmap", "fold", "loop"])
@pytest.mark.parametrize("label", FACTORED)
def test_every_op_takes_one_input_per_member(label, engine):
    make, draw = FACTORED[label]
    es = strategy(make, engine, chunk_size=4)
    x = torch.stack([double(draw()) for _ in range(6)])
    want = torch.stack([model(own) for model, own in zip(dense_members(es), x, strict=True)]).detach()
    assert relative(es.forward(x, per_member=True), want) < 1e-12


@pytest.mark.parametrize("label", LOOPED)
def test_recurrent_layers_run_one_member_at_a_time(label):
    make, draw = LOOPED[label]
    es, x = strategy(make, "auto"), double(draw())
    want = torch.stack([model(x) for model in dense_members(es)]).detach()
    with pytest.warns(UserWarning, match="torcheggroll (has no factored rule|evaluates one member)"):
        got = es.forward(x)
    assert relative(got, want) < 1e-12
    assert es.diagnostics is None


@pytest.mark.parametrize("engine", ["vmap", "fold"])
def test_an_op_without_a_rule_is_materialised_with_one_warning_that_names_it(engine):
    es, x = strategy(NoRule, engine), torch.randn(5, 8, dtype=torch.float64)
    with pytest.warns(UserWarning, match="no factored rule for tensordot, which uses 'weight'") as caught:
        got = es.forward(x)
    assert len(caught) == 1
    assert relative(got, torch.stack([m(x) for m in dense_members(es)]).detach()) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es.forward(x)


@pytest.mark.parametrize("engine", ["vmap", "fold"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_in_another_dtype_keeps_its_factors(engine, dtype):
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 20))

        def forward(self, x):
            same = x.to(dtype) @ self.weight.type(dtype)
            return same + nn.functional.linear(x.to(dtype), self.weight.to(dtype).T)

    es, x = strategy(Casting, engine), torch.randn(5, 8, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = es.forward(x)
    assert got.dtype == dtype
    assert relative(got, torch.stack([m(x) for m in dense_members(es)]).detach()) < 1e-6


def test_auto_says_once_why_it_falls_back():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 1)

        def forward(self, x):
            y = self.layer(x)
            return y if float(y.sum()) > 0 else -y

    es, x = strategy(Branching, "auto"), torch.randn(5, 8, dtype=torch.float64)
    with pytest.warns(UserWarning, match="one member after the other, since") as caught:
        got = es.forward(x)
    assert len(caught) == 1
    assert relative(got, torch.stack([m(x) for m in dense_members(es)]).detach()) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es.forward(x)


@pytest.mark.parametrize("engine", ["vmap", "fold", "loop"])
@pytest.mark.parametrize("antithetic", [True, False])
def test_the_weights_do_not_depend_on_the_chunk_to_the_bit(engine, antithetic):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 17), nn.ReLU(), nn.LayerNorm(17), nn.Linear(17, 3))
    x, y = torch.randn(13, 9), torch.randint(0, 3, (13,))
    weights = []
    for chunk_size in (1, 2, 3, 4, 7, 12, None):
        own = copy.deepcopy(model)
        es = TorchEggrollES(
            own, pop_size=12, sigma=0.1, seed=5, engine=engine, chunk_size=chunk_size, antithetic=antithetic
        )
        for _ in range(2):
            es.step(x, nn.functional.cross_entropy, y)
        weights.append(torch.cat([p.detach().flatten() for p in own.parameters()]))
    assert all(torch.equal(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize("engine", ["vmap", "fold", "loop"])
def test_low_precision_weights_are_never_written(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).bfloat16()
    x = torch.randn(64, 32)
    es = TorchEggrollES(model, pop_size=4, sigma=1e-3, seed=0, engine=engine, antithetic=False)
    seen = []
    hook = model[0].register_forward_hook(lambda m, *_: seen.append(m.weight.data_ptr()))
    before = [p.detach().clone() for p in model.parameters()]
    got = es.forward(x.bfloat16()).float()
    hook.remove()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    precise = TorchEggrollES(copy.deepcopy(model).float(), pop_size=4, sigma=1e-3, seed=0, antithetic=False)
    want = torch.stack([m(x) for m in dense_members(precise)]).detach()
    assert relative(got, want) < 0.02
    # The perturbation is far below bfloat16's resolution of a weight, and yet it is there.
    assert not torch.equal(got[0], got[1])


def test_a_memory_budget_sets_the_chunk():
    calls = []
    model = nn.Linear(64, 64)
    es = TorchEggrollES(model, pop_size=64, seed=0, engine="vmap", memory_budget=1 << 18)
    run = es.evaluator._run_chunk
    es.evaluator._run_chunk = lambda engine, deltas, task: calls.append(deltas[0].members) or run(engine, deltas, task)
    es.forward(torch.randn(32, 64))
    assert sum(calls) == 64
    assert 2 <= max(calls) < 64


@pytest.mark.slow
def test_a_gpt2_of_transformers_agrees_on_every_engine():
    transformers = pytest.importorskip("transformers", reason="needs Transformers")
    config = transformers.GPT2Config(
        vocab_size=61, n_positions=16, n_embd=24, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        use_cache=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Transformers imports has warnings of its own
        model = transformers.GPT2LMHeadModel(config)
    x = torch.randint(0, 61, (3, 9))
    logits = {}
    for engine in ("fold", "vmap", "loop"):
        es = TorchEggrollES(model, pop_size=6, sigma=0.05, rank=2, seed=4, engine=engine)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            logits[engine] = es.forward({"input_ids": x, "use_cache": False})["logits"]
    want = torch.stack([member(x, use_cache=False).logits for member in dense_members(es)]).detach()
    assert es.param_names[0] == "transformer.wte.weight"  # tied with the head, perturbed once
    for engine, got in logits.items():
        assert relative(got, want) < 1e-5, engine
