# ruff: noqa: E501
"""No Arrow type loses a value on its way into a prompt or an export."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from jobs.rows.cells import plain_values

NESTED = pa.struct([("at", pa.timestamp("ns")), ("raw", pa.list_(pa.binary())), ("n", pa.decimal128(9, 2))])


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.timestamp("us"), [2**62, -(2**62), 0], ["148108-07-06 14:00:27.387904", "-144169-06-28 09:59:32.612096", "1970-01-01 00:00:00.000000"]),
        (pa.timestamp("s", "Europe/Berlin"), [2**42, 0], ["141338-07-19 02:25:04Z", "1970-01-01 01:00:00+0100"]),
        (pa.timestamp("s", "Mars/Olympus"), [0], ["1970-01-01 00:00:00Z"]),
        (pa.timestamp("ns"), [1700000000123456789], ["2023-11-14 22:13:20.123456789"]),
        (pa.date32(), [2**31 - 1, -(2**31), 0], ["5881580-07-11", "-5877641-06-23", "1970-01-01"]),
        (pa.date64(), [2**52, 86_400_000], ["144683-05-23", "1970-01-02"]),
        (pa.time64("us"), [90_000_000_000, 1], ["90000000000", "00:00:00.000001"]),
        (pa.binary(), [b"\xff\xfe", b""], ["//4=", ""]),
        (pa.binary(2), [b"\xff\xfe"], ["//4="]),
        (pa.uuid(), [b"0123456789abcdef"], ["30313233-3435-3637-3839-616263646566"]),
        (pa.json_(), ['{"a": 1}'], ['{"a": 1}']),
        (pa.float32(), [0.1], [0.1]),
        (pa.uint64(), [2**64 - 1], [2**64 - 1]),
        (pa.decimal256(70, 2), [Decimal("1" * 60)], ["1" * 60 + ".00"]),
        (pa.list_(pa.float64()), [[0.1], []], [[0.1], []]),
        (pa.large_list(pa.binary()), [[b"a"], []], [["YQ=="], []]),
        (pa.list_(pa.binary(), 1), [[b"a"]], [["YQ=="]]),
        (pa.map_(pa.int32(), pa.date32()), [[(1, dt.date(2026, 1, 2))], []], [[[1, "2026-01-02"]], []]),
        (
            NESTED,
            [{"at": 1700000000123456789, "raw": [b"a", None], "n": Decimal("1.5")}],
            [{"at": "2023-11-14 22:13:20.123456789", "raw": ["YQ==", None], "n": "1.50"}],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_is_the_same_whole_or_in_a_slice_and_null_stays_null(kind: pa.DataType, values: list[Any], expected: list[Any]) -> None:
    array = pa.array([None, *values, None], kind)
    assert plain_values(array) == [None, *expected, None]
    assert plain_values(array.slice(1, 1)) == expected[:1]
