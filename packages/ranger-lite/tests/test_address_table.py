"""The table of addresses: right after every kind of move, sent only then, and kept where a graph reads it."""

import pytest
import torch
from rangerlite._batch import Batch
from rangerlite._paths import address_table
from rangerlite._paths.address_table import AddressTable, AddressTables

ROW = 2 + len(Batch._fields)


def batch(shapes=((40,), (3, 8), ()), dtype=torch.float32):
    columns = {name: [torch.zeros(s, dtype=dtype) for s in shapes] for name in ("theta", "grad", "m", "v", "phi")}
    return Batch.empty()._replace(**columns, step=[torch.tensor(0.0) for _ in shapes])


def with_grad(whole, i, grad):
    return whole._replace(grad=[grad if j == i else g for j, g in enumerate(whole.grad)])


def rows(table):
    return table.words.view(-1, ROW).tolist()


def expected(whole, block=16):
    return [
        [
            theta.numel(),
            max(1, -(-theta.numel() // block)),
            *(column[i].data_ptr() if column else 0 for column in whole),
        ]
        for i, theta in enumerate(whole.theta)
    ]


def test_it_holds_lengths_programs_and_addresses():
    whole = batch()
    table = AddressTable(whole, 16, capturable=False)
    assert rows(table) == expected(whole)
    assert table.blocks.view(-1, 2).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]
    assert table.arrived.tolist() == [0, 0, 0]


def test_an_empty_tensor_has_one_program_that_counts_its_step():
    table = AddressTable(batch([(0,)]), 16, capturable=False)
    assert table.blocks.tolist() == [0, 0]


def test_nothing_is_sent_while_nothing_moves():
    tables, whole = AddressTables(), batch()
    words = tables.find(whole, 16, False).words
    assert all(tables.find(whole, 16, False).words is words for _ in range(3))


@pytest.mark.parametrize("column", ["theta", "grad", "m", "v", "phi", "step"])
def test_a_tensor_that_moves_is_noticed_in_every_column(column):
    tables, whole = AddressTables(), batch()
    tables.find(whole, 16, False)
    tensor = getattr(whole, column)[0]
    moved = whole._replace(**{column: [tensor.clone(), *getattr(whole, column)[1:]]})
    assert rows(tables.find(moved, 16, False)) == expected(moved)


def test_memory_exchanged_behind_a_tensor_is_noticed():
    tables, whole = AddressTables(), batch()
    tables.find(whole, 16, False)
    whole.m[1].data = torch.ones(3, 8)
    assert rows(tables.find(whole, 16, False)) == expected(whole)


def test_a_layout_that_changes_at_the_same_address_is_noticed():
    tables, whole = AddressTables(), batch([(4, 4)])
    assert tables.find(whole, 16, False).left == []
    turned = with_grad(whole, 0, whole.grad[0].t())
    assert turned.grad[0].data_ptr() == whole.grad[0].data_ptr()
    assert tables.find(turned, 16, False).left == [0]


@pytest.mark.parametrize(
    "grad",
    [torch.zeros(3, 8, dtype=torch.float64), torch.zeros(8, 3).t(), torch.zeros(3, 1).expand(3, 8), torch.zeros(2, 12)],
    ids=["another dtype", "turned", "expanded", "another shape"],
)
def test_what_one_index_cannot_walk_is_left(grad):
    table = AddressTable(with_grad(batch(), 1, grad), 16, capturable=False)
    assert (table.taken, table.left) == ([0, 2], [1])
    assert [row[0] for row in rows(table)] == [40, 1]


def test_tensors_with_gaps_are_left_even_if_all_have_the_same():
    columns = {name: [torch.zeros(8, 6)[:, ::2]] for name in ("theta", "grad", "m", "v", "phi")}
    whole = Batch.empty()._replace(**columns, step=[torch.tensor(0.0)])
    assert AddressTable(whole, 16, capturable=False).left == [0]


def test_vectors_are_used_only_where_every_address_and_length_allows():
    assert AddressTable(batch([(40,), (3, 8)]), 16, capturable=False).vector == 4
    assert AddressTable(batch([(40,), (8,)], torch.bfloat16), 16, capturable=False).vector == 8
    assert AddressTable(batch([(40,), (10,)]), 16, capturable=False).vector == 1
    whole = batch([(40,)])
    assert AddressTable(with_grad(whole, 0, torch.zeros(41)[1:]), 16, capturable=False).vector == 1


class TestInsideAGraph:
    @pytest.fixture
    def capture(self, monkeypatch):
        def begin(on):
            monkeypatch.setattr(address_table, "is_capturing", lambda device: on)

        return begin

    def test_a_first_table_is_refused_with_the_way_out(self, capture):
        capture(True)
        with pytest.raises(RuntimeError, match="call step\\(\\) once before the capture"):
            AddressTables().find(batch(), 16, True)

    def test_gradients_at_new_addresses_take_the_memory_kept_ready(self, capture):
        tables, whole = AddressTables(), batch()
        table = tables.find(whole, 16, True)
        spares = list(table._spares)
        capture(True)
        moved = with_grad(whole, 0, torch.zeros(40))
        assert tables.find(moved, 16, True) is table
        assert any(table._source is spare for spare in spares)
        assert rows(table) == expected(moved)

    def test_what_a_graph_reads_outlives_later_moves(self, capture):
        tables, whole = AddressTables(), batch()
        tables.find(whole, 16, True)
        capture(True)
        moved = with_grad(whole, 0, torch.zeros(40))
        read = tables.find(moved, 16, True).words
        capture(False)
        before = read.clone()
        assert tables.find(whole, 16, True).words is not read
        assert torch.equal(read, before)
        assert any(kept is read for kept in tables._captured)

    def test_a_second_graph_does_not_write_over_the_first_ones_memory(self, capture):
        tables, whole = AddressTables(), batch()
        table = tables.find(whole, 16, True)
        sources = []
        for _ in range(2):
            capture(True)
            tables.find(with_grad(whole, 0, torch.zeros(40)), 16, True)
            capture(False)
            sources.append(table._source)
            tables.find(whole, 16, True)
        assert sources[0] is not sources[1]
