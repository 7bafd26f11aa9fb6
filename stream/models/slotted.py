"""Graphs whose memory lies in tables, a row for each stream. Needs `onnx`: for GPUs only."""

from pathlib import Path

import onnx
from onnx import TensorProto, ValueInfoProto, helper

from stream.models.providers import ROWS

STATE, NEXT = "state_", "next_"
TABLE, MOVED = "table_", "moved_"
FROM, TO = "from_rows", "to_rows"


def slotted(path: Path, batch: int | str) -> bytes:
    """The graph in `path` with tables [rows, …] in place of its states [batch, …].

    Beside its other inputs it takes `from_rows` [batch], the rows to read the states from, and
    `to_rows` [batch, 1], those to write the next ones to. Each `table_X` comes out as `moved_X`,
    which may be the same memory: only the rows of `to_rows` differ.

    batch   the first length of all inputs: a number, or its name
    """
    model = onnx.load(path)
    graph = model.graph
    kept = [value for value in graph.input if not value.name.startswith(STATE)]
    states = [value for value in graph.input if value.name.startswith(STATE)]
    outputs = [value for value in graph.output if not value.name.startswith(NEXT)]
    gather = [
        helper.make_node("Gather", [_renamed(value, TABLE).name, FROM], [value.name], axis=0)
        for value in states
    ]
    scatter = [
        helper.make_node(
            "ScatterND",
            [TABLE + value.name[len(STATE) :], TO, NEXT + value.name[len(STATE) :]],
            [MOVED + value.name[len(STATE) :]],
        )
        for value in states
    ]
    rows = [
        helper.make_tensor_value_info(FROM, TensorProto.INT64, [batch]),
        helper.make_tensor_value_info(TO, TensorProto.INT64, [batch, 1]),
    ]
    tables = [_renamed(value, TABLE) for value in states]
    moved = [_renamed(value, MOVED) for value in states]
    changed = helper.make_graph(
        [*gather, *graph.node, *scatter],
        graph.name,
        [*kept, *tables, *rows],
        [*outputs, *moved],
        graph.initializer,
    )
    changed.value_info.extend(graph.value_info)
    changed.sparse_initializer.extend(graph.sparse_initializer)
    model.graph.CopyFrom(changed)
    return model.SerializeToString()


def _renamed(state: ValueInfoProto, prefix: str) -> ValueInfoProto:
    """The declaration of a state's table."""
    table = ValueInfoProto()
    table.CopyFrom(state)
    table.name = prefix + state.name[len(STATE) :]
    length = table.type.tensor_type.shape.dim[0]
    length.Clear()
    length.dim_param = ROWS
    return table
