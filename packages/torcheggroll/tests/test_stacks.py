"""Weights (E, m, n) that hold a matrix for each expert: a factor pair for each, in noise, estimate and engines."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.noise.layout import perturbed_shape

E, D, H = 4, 24, 20


class Experts(nn.Module):
    """Two layers of experts behind a router, in one of the ways that models write them."""

    def __init__(self, way, dtype=torch.float64):
        super().__init__()
        self.way = way
        self.route = nn.Linear(D, E, dtype=dtype)
        self.up = nn.Parameter(torch.randn(E, D, H, dtype=dtype) / D**0.5)
        self.down = nn.Parameter(torch.randn(E, H, D, dtype=dtype) / H**0.5)

    def forward(self, x):
        return self.way(self, x, self.route(x).softmax(-1))


def by_bmm(m, x, gate):
    hidden = torch.relu(torch.bmm(x.expand(E, *x.shape), m.up))
    return (torch.bmm(hidden, m.down) * gate.T.unsqueeze(-1)).sum(0)


def by_matmul(m, x, gate):
    hidden = torch.relu(x @ m.up)
    return (hidden @ m.down * gate.mT.unsqueeze(-1)).sum(0)


def from_the_left(m, x, gate):
    hidden = torch.relu(m.up.mT @ x.mT)  # (E, H, T)
    return (torch.bmm(m.down.transpose(1, 2), hidden).mT * gate.mT.unsqueeze(-1)).sum(0)


def by_baddbmm(m, x, gate):
    shift = x.new_ones(E, 1, H)
    hidden = torch.relu(torch.baddbmm(shift, x.expand(E, *x.shape), m.up))
    return (torch.baddbmm(x.expand(E, *x.shape), hidden, m.down) * gate.mT.unsqueeze(-1)).sum(0)


def by_einsum(m, x, gate):
    hidden = torch.relu(torch.einsum("td,edh->teh", x, m.up))
    return (torch.einsum("ehd,teh->tde", m.down, hidden) * gate.unsqueeze(1)).sum(-1)


def by_hand(m, x, gate):
    return sum(gate[:, e, None] * (torch.relu(x @ m.up[e]) @ m.down[e]) for e in range(E))


def by_linear(m, x, gate):
    up, down = m.up.permute(0, 2, 1), m.down.mT
    pairs = zip(up, down.unbind(), strict=True)
    return sum(gate[:, e, None] * functional.linear(torch.relu(functional.linear(x, u)), d)
               for e, (u, d) in enumerate(pairs))  # fmt: skip


def by_groups(m, x, gate):
    """What Transformers' experts do by default: the best two, sorted by expert."""
    best, chosen = gate.topk(2, -1)
    expert, order = torch.sort(chosen.flatten())
    ends = torch.cumsum(torch.histc(expert.float(), bins=E, min=0, max=E - 1), 0, dtype=torch.int32)
    hidden = torch.relu(functional.grouped_mm(x[order // 2], m.up, offs=ends))
    out = functional.grouped_mm(hidden, m.down, offs=ends) * best.flatten()[order, None]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return out[back].view(len(x), 2, D).sum(1)


WAYS = [by_bmm, by_matmul, from_the_left, by_baddbmm, by_einsum, by_hand, by_linear, by_groups]
needs_groups = pytest.mark.skipif(not hasattr(functional, "grouped_mm"), reason="needs a torch with grouped_mm")
MARKED = [pytest.param(way, marks=needs_groups if way is by_groups else (), id=way.__name__) for way in WAYS]


TOLERANCE = {torch.float64: {"rtol": 1e-10, "atol": 1e-12}, torch.float32: {"rtol": 2e-4, "atol": 2e-5}}


def made(way=by_bmm, dtype=torch.float64, **settings):
    torch.manual_seed(0)
    given = {"pop_size": 6, "sigma": 0.05, "rank": 2, "seed": 3, **settings}
    return TorchEggrollES(Experts(way, dtype), **given)


def members_by_hand(es, x):
    """The outputs of dense members, each expert's perturbation formed from its own pair, in float64."""
    outs = []
    for i in range(es.pop_size):
        model = copy.deepcopy(es.model)
        with torch.no_grad():
            for name, delta in zip(es.param_names, es.perturbations([i]), strict=True):
                p = model.get_parameter(name)
                if name in ("up", "down"):
                    left, right = delta.left[0], delta.right[0]
                    assert left.shape == (E, 2, p.shape[1])
                    assert right.shape == (E, 2, p.shape[2])
                    for e in range(E):
                        p[e] += sum(torch.outer(left[e, k], right[e, k]) for k in range(2))
                else:
                    p += delta.dense[0] if delta.left is None else delta.left[0].T @ delta.right[0]
            outs.append(model(x))
    return torch.stack(outs)


@pytest.mark.parametrize("way", MARKED)
@pytest.mark.parametrize("engine", ["fold", "loop"])
def test_members_are_those_made_by_hand(way, engine):
    dtype = torch.float32 if way is by_groups else torch.float64  # torch's grouped product takes no float64
    es = made(way, dtype, engine=engine)
    x = torch.randn(7, D, dtype=dtype)
    torch.testing.assert_close(es.forward(x), members_by_hand(es, x), **TOLERANCE[dtype])


@pytest.mark.parametrize("way", [way for way in WAYS if way is not by_groups])
def test_vmap_agrees(way):
    es = made(way, engine="vmap")
    x = torch.randn(7, D, dtype=torch.float64)
    torch.testing.assert_close(es.forward(x), members_by_hand(es, x), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("way", MARKED)
def test_no_weight_of_the_experts_is_formed(way):
    es = made(way, torch.float32, engine="fold")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        es.forward(torch.randn(7, D))
    assert not [w for w in caught if "materialised" in str(w.message)]  # what is formed in full is told


def test_an_op_without_a_rule_says_so_and_is_right():
    es = made(lambda m, x, gate: (x @ (m.up * 2).sum(0)) @ m.down.flip(0)[0], engine="fold")
    x = torch.randn(5, D, dtype=torch.float64)
    with pytest.warns(UserWarning, match="no factored rule"):
        got = es.forward(x)
    torch.testing.assert_close(got, members_by_hand(es, x), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("way", MARKED)
def test_a_member_has_the_same_bits_in_any_chunk(way):
    x = torch.randn(7, D)
    whole = made(way, torch.float32, engine="fold", chunk_size=6).forward(x)
    for size in (2, 4):
        assert torch.equal(made(way, torch.float32, engine="fold", chunk_size=size).forward(x), whole)


def test_the_update_is_that_of_every_expert_alone():
    """Equation (3) of the README for each matrix, in float64."""
    es = made(scale="paper", lr=1.0, fitness="raw")
    before = {name: value.clone() for name, value in es.base_params.items()}
    deltas = [es.perturbations([i]) for i in range(6)]
    es.ask()
    es.tell(list(range(6)))
    for j, name in enumerate(es.param_names):
        if name in ("up", "down"):
            for e in range(E):
                want = (
                    sum(i * d[j].left[0, e].double().T @ d[j].right[0, e].double() / 0.05 for i, d in enumerate(deltas))
                    / 6
                )
                got = es.model.get_parameter(name)[e] - before[name][e]
                torch.testing.assert_close(got.detach(), want, rtol=1e-9, atol=1e-11)


def test_entries_have_deviation_one_and_experts_are_independent():
    shape = perturbed_shape((3, 10, 12), 4, stacked=True)
    es = TorchEggrollES(Stack(3, 10, 12), pop_size=4000, sigma=1.0, rank=4, seed=0, antithetic=False)
    [delta] = es.perturbations(list(range(4000)))
    assert delta.left.shape[1:] == (3, 4, 10)
    E_ = delta.left.mT @ delta.right  # (members, 3, 10, 12)
    assert abs(float(E_.square().mean()) - 1) < 0.02
    assert float(E_.mean(0).abs().max()) < 0.08
    between = torch.einsum("kij,kij->k", E_[:, 0], E_[:, 1]) / 120
    assert abs(float(between.mean())) < 0.01
    assert shape.numbers == 128 + 3 * 4 * 12  # A fills whole cache lines


class Stack(nn.Module):
    """One bare stack of matrices."""

    def __init__(self, *size):
        super().__init__()
        self.w = nn.Parameter(torch.randn(*size))

    def forward(self, x):
        return x @ self.w


@pytest.mark.filterwarnings("ignore:torcheggroll has no factored rule for bmm")
@pytest.mark.filterwarnings("ignore:torcheggroll evaluates members under vmap")
def test_a_run_goes_on_to_the_bit_and_older_ones_with_what_they_drew():
    x, y = torch.randn(7, D, dtype=torch.float64), torch.randn(7, D, dtype=torch.float64)

    def stepped(es, count):
        for _ in range(count):
            es.step(x, functional.mse_loss, y)
        return es.base_params["up"]

    for kind in ("separate", "flattened"):  # by bmm, which has a rule for the former alone
        straight = stepped(made(stacked_matrices=kind), 4)
        first, second = made(stacked_matrices=kind), made(rank=3)
        stepped(first, 2)
        second.load_state_dict(first.state_dict())
        assert second.stacked_matrices == kind
        assert torch.equal(stepped(second, 2), straight)
    older = first.state_dict()
    del older["stacked_matrices"]
    third = made()
    third.load_state_dict(older)
    assert third.stacked_matrices == "flattened"
    assert third.perturbations([0])[third.param_names.index("up")].left.shape == (1, 2, E)


def test_small_matrices_of_a_stack_are_dense_as_they_are_alone():
    es = TorchEggrollES(Stack(5, 6, 3), pop_size=2, rank=4, seed=0, engine="fold")
    [delta] = es.perturbations([0, 1])
    assert delta.left.shape == (2, 5, 3, 6)
    assert torch.equal(delta.right, torch.eye(3).expand(2, 5, 3, 3))
    members = es.model.w.detach() + delta.left.mT @ delta.right
    x = torch.randn(2, 6)
    torch.testing.assert_close(es.forward(x), x @ members)


def test_filters_of_convolutions_stay_one_matrix():
    plain = nn.Conv1d(6, 8, 3)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 8, 3))
    for model in (plain, normed):
        es = TorchEggrollES(model, pop_size=2, rank=2, seed=0)
        lefts = [d.left for d in es.perturbations([0]) if d.left is not None]
        assert [(left.dim(), left.shape[-1]) for left in lefts] == [(3, 8)] * len(lefts)
        assert lefts


def test_a_member_as_an_adapter_holds_the_experts_in_full():
    es = made()
    exported = es.export_lora(1)
    with es.member(1) as model:
        for name in ("up", "down"):
            torch.testing.assert_close(exported[f"base_model.model.{name}"], model.get_parameter(name).detach())


def test_another_word_for_stacks_is_refused():
    with pytest.raises(ValueError, match="stacked_matrices must be one of separate, flattened"):
        made(stacked_matrices="each")


@pytest.mark.parametrize("engine", ["fold", "vmap"])
def test_rows_that_tokens_name_are_those_of_an_embedding(engine):
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Parameter(torch.randn(11, 24)), nn.Linear(24, 11)

        def forward(self, tokens):
            guess = self.head(self.table[tokens]).argmax(-1)  # every member has its own
            return self.head(self.table[guess] + self.table[tokens - 11])

    torch.manual_seed(0)
    es = TorchEggrollES(Table(), pop_size=6, sigma=0.2, rank=2, seed=0, engine=engine)
    tokens = torch.randint(0, 11, (3, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = es.forward(tokens)
    for i in range(6):
        with es.member(i) as model, torch.no_grad():
            torch.testing.assert_close(got[i], model(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["fold", "vmap"])
@pytest.mark.filterwarnings("ignore:torcheggroll has no factored rule for add")
def test_a_stretch_of_rows_keeps_its_factors(engine):
    class Stretch(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(20, 24))

        def forward(self, x):
            return (x + self.w[2 : 2 + len(x)]) @ self.w[-12:].T @ self.w[:12] + functional.linear(x, self.w[::2])[
                :, :1
            ]

    torch.manual_seed(0)
    es, x = TorchEggrollES(Stretch(), pop_size=4, sigma=0.2, rank=2, seed=0, engine=engine), torch.randn(5, 24)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no factored rule for __getitem__.*")  # every second row
        got = es.forward(x)
    for i in range(4):
        with es.member(i) as model, torch.no_grad():
            torch.testing.assert_close(got[i], model(x), rtol=1e-4, atol=1e-4)


def test_a_row_beyond_the_table_is_refused_as_ever():
    es = TorchEggrollES(Indexing(), pop_size=4, seed=0)
    with pytest.raises(IndexError):
        es.forward(torch.tensor([11]))


class Indexing(nn.Module):
    """Rows of a bare matrix."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(11, 24))

    def forward(self, tokens):
        return self.table[tokens]
