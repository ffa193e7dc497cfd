"""Attention whose key heads serve several query heads, wherever the engines can not fold it into one call."""

import pytest
import torch
from reference import dense_members, relative
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
pytestmark = pytest.mark.skipif(VERSION < (2, 5), reason="torch has grouped attention from 2.5 on")
HEADS, GROUPS, T, D = 4, 2, 5, 3


class Grouped(nn.Module):
    """Four query heads, two key heads; ``kind`` says what is unlike a plain layer."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.queries, self.keys, self.values = (nn.Linear(8, n * D) for n in (HEADS, GROUPS, GROUPS))
        self.bias = nn.Linear(8, T)
        if kind == "queries of its own":
            self.latent = nn.Parameter(torch.randn(1, HEADS, T, D))

    def heads(self, x):
        return x.view(len(x), T, -1, D).transpose(1, 2)

    def forward(self, x):
        q, k, v = (self.heads(layer(x)) for layer in (self.queries, self.keys, self.values))
        mask = self.bias(x).unsqueeze(1) if self.kind == "a mask per member" else None
        if self.kind == "queries of its own":
            q = self.latent
        if self.kind == "keys that all members share":
            k = self.heads(x[..., : GROUPS * D])
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


@pytest.mark.filterwarnings("ignore:torcheggroll has no factored rule for scaled_dot_product_attention")
@pytest.mark.parametrize("engine", ["vmap", "fold", "loop"])
@pytest.mark.parametrize("kind", ["plain", "a mask per member", "queries of its own", "keys that all members share"])
def test_key_heads_serve_several_query_heads(kind, engine):
    torch.manual_seed(0)
    es = TorchEggrollES(Grouped(kind).double(), pop_size=6, sigma=0.3, rank=2, seed=4, engine=engine)
    x = torch.randn(3, T, 8, dtype=torch.float64)
    want = torch.stack([model(x) for model in dense_members(es)]).detach()
    assert relative(es.forward(x), want) < 1e-12
