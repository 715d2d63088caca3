"""Cells of a table as plain Python values, for prompts and exports: whatever Arrow type they have, no value is lost or made up."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FIRST_YEAR, _LAST_YEAR = np.datetime64("0001-01-01"), np.datetime64("9999-12-31")  # beyond them Arrow's texts go wrong


def plain_values(array: pa.Array) -> list[Any]:
    """Text, numbers, true and false, lists and dicts as they are; dates, decimals … as text; bytes that are no text in base64."""
    kind, types = array.type, pa.types
    if types.is_dictionary(kind):
        return plain_values(array.dictionary_decode())
    if isinstance(kind, pa.UuidType):
        return [None if value is None else str(value) for value in array.to_pylist()]
    if isinstance(kind, pa.BaseExtensionType):
        return plain_values(array.storage)
    if is_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()]
    if types.is_float16(kind) or types.is_float32(kind):
        return [None if text is None else float(text) for text in pc.cast(array, pa.string()).to_pylist()]
    if _is_plain(kind):
        return array.to_pylist()
    if types.is_nested(kind):
        return _nested(array)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _dates(array)
    texts = pc.cast(array, pa.string()).to_pylist()
    if types.is_time(kind):  # a time of day past midnight has no text in Arrow
        return [text if text is None or text[0] != "<" else text.rsplit(" ", 1)[1].rstrip(">") for text in texts]
    return texts


def is_binary(kind: pa.DataType) -> bool:
    """Whether a type is bytes without a meaning."""
    types = pa.types
    return any(test(kind) for test in (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own Python values are ours, down to the leaves."""
    types = pa.types
    if types.is_nested(kind) and not types.is_union(kind):
        return all(_is_plain(kind.field(i).type) or types.is_floating(kind.field(i).type) for i in range(kind.num_fields))
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_float64,
        types.is_boolean,
        types.is_null,
    )
    return any(test(kind) for test in tests)


def _nested(array: pa.Array) -> list[Any]:
    """Lists, structs and maps (as lists of pairs) whose leaves need a look of their own."""
    kind, types = array.type, pa.types
    present = array.is_valid().to_pylist()
    if types.is_struct(kind):
        names, columns = [field.name for field in kind], [plain_values(child) for child in array.flatten()]
        return [dict(zip(names, values, strict=True)) if there else None for there, *values in zip(present, *columns, strict=True)]
    if types.is_map(kind):
        pairs = array.cast(pa.list_(pa.struct([pa.field("k", kind.key_type), pa.field("v", kind.item_type)])))
        return [None if one is None else [[pair["k"], pair["v"]] for pair in one] for one in plain_values(pairs)]
    items, found, at = plain_values(array.flatten()), [], 0
    for length in pc.list_value_length(array).to_pylist():
        found.append(None if length is None else items[at : at + length])
        at += length or 0
    return [value if there else None for value, there in zip(found, present, strict=True)]


def _dates(array: pa.Array) -> list[str | None]:
    kind = array.type
    try:
        texts = pc.cast(array, pa.string()).to_pylist()
        zone = "Z" if getattr(kind, "tz", None) else ""
    except pa.ArrowInvalid:  # a time zone that is not known here: then as in the file, in UTC
        texts = pc.cast(array.cast(pa.timestamp(kind.unit)), pa.string()).to_pylist()
        zone = "Z"
        texts = [None if text is None else text + zone for text in texts]
    unit = "D" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else kind.unit
    numbers = np.asarray(pc.fill_null(array.cast(pa.int32() if unit == "D" else pa.int64()), 0)).astype(f"datetime64[{unit}]")
    with np.errstate(all="ignore"):
        days = numbers.astype("datetime64[D]")
    for i in np.flatnonzero((days < _FIRST_YEAR) | (days > _LAST_YEAR)).tolist():
        if texts[i] is not None:
            moment = days[i] if pa.types.is_date(kind) else numbers[i]
            texts[i] = str(moment).replace("T", " ") + zone
    return texts
