"""Streams of observations merge to what one pass over all of them gives, to the bit wherever their rows were."""

import math
import statistics

import pytest
import torch
from torcheggroll._distributed.ranks import Ranks
from torcheggroll.rl.moments import Moments, empty, merge, merge_all, observe_
from torcheggroll.rl.normalization import ObservationNormalizer, gathered


def watched(members, steps, shape=(3,)):
    """Streams of some members, and what each saw."""
    generator = torch.Generator().manual_seed(members)
    x = torch.randn(steps, members, *shape, generator=generator, dtype=torch.float64) * 5 + 1e3
    counted = torch.rand(steps, members, generator=generator) < 0.7
    streams = empty(members, shape)
    for own, here in zip(x, counted, strict=True):
        observe_(streams, own, here)
    return streams, [x[counted[:, i], i] for i in range(members)]


@pytest.mark.parametrize("members", [1, 2, 5, 8, 13])
def test_merged_streams_equal_one_pass_in_exact_arithmetic(members):
    streams, seen = watched(members, 20)
    merged = merge_all(streams)
    for column in range(3):
        values = torch.cat(seen)[:, column].tolist()
        mean = math.fsum(values) / len(values)
        assert merged.n.tolist() == [len(values)]
        assert float(merged.mean[0, column]) == pytest.approx(mean, rel=1e-14)
        assert float(merged.squares[0, column]) == pytest.approx(math.fsum((v - mean) ** 2 for v in values), rel=1e-10)
        assert float(merged.squares[0, column]) / len(values) == pytest.approx(statistics.pvariance(values), rel=1e-10)


def test_a_stream_that_saw_nothing_changes_nothing():
    streams, _ = watched(1, 20)
    assert all(map(torch.equal, merge(streams, empty(1, (3,))), streams))
    assert all(map(torch.equal, merge(empty(1, (3,)), streams), streams))


def test_a_member_is_counted_alike_wherever_its_row_is():
    whole, _ = watched(13, 20, (5,))
    generator = torch.Generator().manual_seed(13)
    x = torch.randn(20, 13, 5, generator=generator, dtype=torch.float64) * 5 + 1e3
    counted = torch.rand(20, 13, generator=generator) < 0.7
    for first, last in ((0, 1), (3, 7), (12, 13)):
        part = empty(last - first, (5,))
        for own, here in zip(x[:, first:last], counted[:, first:last], strict=True):
            observe_(part, own, here)
        assert all(torch.equal(a, b[first:last]) for a, b in zip(part, whole, strict=True))


@pytest.mark.parametrize("shares", [(13,), (7, 6), (4, 3, 3, 3), (13, 0)])
def test_ranks_that_gather_hold_the_bits_of_one_process(shares):
    streams, _ = watched(13, 20, (2, 2))
    parts = [Moments(*rows) for rows in zip(*(t.split(list(shares)) for t in streams), strict=True)]
    sent = []
    own = [range(n) for n in shares]
    for part in parts:
        ranks = Ranks(0, len(shares), lambda row: sent.append(row) or row.expand(len(shares), -1))
        gathered(part, lambda table, ranks=ranks: ranks.gather_rows(table, own, 0))
    assert {row.numel() for row in sent} == {max(shares) * (1 + 2 * 4)}
    alone = ObservationNormalizer((2, 2))
    alone.absorb(streams)
    for part in parts:
        together = ObservationNormalizer((2, 2))
        ranks = Ranks(0, len(shares), lambda _: torch.stack(sent))
        together.absorb(gathered(part, lambda table, ranks=ranks: ranks.gather_rows(table, own, 0)))
        assert torch.equal(alone.mean, together.mean)
        assert torch.equal(alone.variance, together.variance)


def test_normalised_observations_are_clipped_and_keep_their_dtype():
    normalizer = ObservationNormalizer((3,), clip=2.0)
    x = torch.full((1, 3), 1e6)
    assert torch.equal(normalizer.normalize(x), x)  # nothing was seen
    streams, _ = watched(4, 20)
    normalizer.absorb(streams)
    assert normalizer.normalize(x).tolist() == [[2.0] * 3]
    assert normalizer.normalize(x).dtype == torch.float32


@pytest.mark.parametrize(("name", "value"), [("clip", 0.0), ("clip", float("nan")), ("epsilon", 0.0)])
def test_settings_outside_their_interval_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be in"):
        ObservationNormalizer((3,), **{name: value})
