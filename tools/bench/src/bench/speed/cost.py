"""The cost of a step on W ranks: arithmetic, random numbers, bytes, memory and time.

    k  = ⌈K/W⌉                              (1)  pairs of the busiest rank, of K
    C  = 2 m k R (P + s)                    (2)  flops of evaluation: m members a pair, R rows each
    U  = 2 K (r P + p)                      (3)  flops of the update, the same on every rank
    D  = (k + K) d                          (4)  random numbers, drawn for evaluation and again for the update
    B  = 8 W (1 + m k q)                    (5)  bytes that a rank holds after the exchange, q evaluations per member
    M  = b (P + p) + c (a + 4 d) + 4 l      (6)  bytes: model, a chunk of c members with a each, one layer's update
    T  = C/φ + U/υ + D/ν + B/β + λ          (7)  seconds at the machine's rates
    e  = T(1)/(W T(W))                      (8)  of W ranks' time, what one rank would have needed
    W* = (C(1)/φ + K d/ν)/(U/υ + K d/ν)     (9)  ranks at which the update takes as long as evaluation

P counts the entries of all matrices, the largest has l; p those of everything else, perturbed densely; s = Σ r (rows +
columns), the entries of a pair's factors; d what a pair draws: s + p, with factors filled up to whole cache lines. The
model's size is nowhere in (5). The update does not shrink with W: for large matrices and free noise W* = m R υ/(r φ),
so many ranks want many rows per member.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torcheggroll.noise.layout import perturbed_shape


class Work(NamedTuple):
    """What a step has to do."""

    shapes: Sequence[tuple[int, ...]]  # of the evolved parameters
    population: int
    rank: int
    rows: int  # that each member passes through each matrix, such as batch times tokens
    antithetic: bool = True
    evaluations: int = 1  # fitnesses per member
    weight_bytes: int = 4  # per entry of the model
    chunk: int = 8  # members evaluated at once
    activations: int = 0  # bytes per member of a chunk


class Machine(NamedTuple):
    """What one rank does in a second."""

    evaluation: float  # φ, flops
    update: float  # υ, flops, in float32
    draws: float  # ν, random numbers
    bandwidth: float  # β, bytes from other ranks
    latency: float = 0.0  # λ, seconds of an exchange


class Cost(NamedTuple):
    """What the busiest rank spends on a step."""

    pairs: int
    evaluation_flops: int
    update_flops: int
    draws: int
    bytes: int
    memory: int


def cost(work: Work, world: int = 1) -> Cost:
    """Counts what a step costs on each of ``world`` ranks."""
    shapes = [perturbed_shape(tuple(size), work.rank) for size in work.shapes]
    matrices = [shape for shape in shapes if shape.rank]
    P = sum(prod(shape.size) for shape in matrices)
    s = sum(shape.rank * (shape.rows + shape.columns) for shape in matrices)
    p = sum(prod(shape.size) for shape in shapes if not shape.rank)
    d = sum(shape.numbers for shape in shapes)
    m = 2 if work.antithetic else 1
    K = work.population // m
    k = -(-K // world)  # (1)
    largest = max(prod(shape.size) for shape in shapes)
    chunk = min(work.chunk, m * k)
    return Cost(
        pairs=k,
        evaluation_flops=2 * m * k * work.rows * (P + s),  # (2)
        update_flops=2 * K * (sum(shape.rank * prod(shape.size) for shape in matrices) + p),  # (3)
        draws=(k + K) * d,  # (4)
        bytes=8 * world * (1 + m * k * work.evaluations) if world > 1 else 0,  # (5)
        memory=work.weight_bytes * (P + p) + chunk * (work.activations + 4 * d) + 4 * largest,  # (6)
    )


def seconds(work: Work, machine: Machine, world: int = 1) -> float:
    """Predicts the time of a step."""
    C = cost(work, world)
    arithmetic = C.evaluation_flops / machine.evaluation + C.update_flops / machine.update
    exchange = C.bytes / machine.bandwidth + (machine.latency if world > 1 else 0.0)
    return arithmetic + C.draws / machine.draws + exchange  # (7)


def efficiency(work: Work, machine: Machine, world: int) -> float:
    """Predicts which part of ``world`` ranks' time one rank would have needed."""
    return seconds(work, machine) / (world * seconds(work, machine, world))  # (8)


def even_world(work: Work, machine: Machine) -> float:
    """Predicts how many ranks make the update take as long as evaluation; far more waste most of their time."""
    C = cost(work)
    draws = C.draws / 2 / machine.draws
    return (C.evaluation_flops / machine.evaluation + draws) / (C.update_flops / machine.update + draws)  # (9)
