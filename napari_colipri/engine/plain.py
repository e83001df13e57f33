"""Typed values as plain data and back, for the way between two processes: nothing that arrives can be more than data.

What leaves is JSON and a list of buffers. What arrives is read by the type that is expected there, which is also the
register of all that may come: a name, a field or an array that the type does not announce is a
:class:`~napari_colipri.errors.ProtocolError`. Dataclasses, pydantic models, numpy arrays of numbers, paths, bytes,
tuples, lists, dictionaries with text as keys, texts, numbers, booleans and None are all there is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from napari_colipri.errors import ProtocolError

__all__ = ["Buffer", "put_together", "take_apart"]

Buffer: TypeAlias = npt.NDArray[np.uint8]

_NUMBERS = "biuf"  # kinds of dtype: booleans, integers, floats


def take_apart(value: object) -> tuple[bytes, list[Buffer]]:
    """Return a value as JSON (ASCII) and the buffers of its arrays and bytes, in order.

    Parameters
    ----------
    value
        Anything that :mod:`napari_colipri.engine.plain` names.

    Returns
    -------
    tuple of bytes and list of numpy.ndarray
        The buffers, uint8 [n], are views of contiguous arrays, whatever the order of their axes; others are copied.

    Raises
    ------
    ProtocolError
        For a value of another type.
    """
    buffers: list[Buffer] = []
    return json.dumps(_plain(value, buffers), separators=(",", ":")).encode("ascii"), buffers


def put_together(text: bytes, buffers: Sequence[Buffer], expected: Any) -> Any:
    """Return the value again.

    Parameters
    ----------
    text, buffers
        From :func:`take_apart`. Arrays keep the buffers and are writeable where these are.
    expected
        Its type: a class, or a union of all that it may be.

    Raises
    ------
    ProtocolError
        If it is not of that type, or damaged.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("it is not JSON") from error
    return _value(plain, expected, buffers)


# ------------------------------------------------------------------------------------------------ value to plain


def _plain(value: object, buffers: list[Buffer]) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _array_apart(value, buffers)
    if isinstance(value, bytes):
        buffers.append(np.frombuffer(value, dtype=np.uint8))
        return {"bytes": len(buffers) - 1}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item, buffers) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, buffers) for key, item in value.items()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: _plain(getattr(value, item.name), buffers) for item in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    raise ProtocolError(f"a {type(value).__name__} cannot travel")


def _array_apart(array: npt.NDArray[Any], buffers: list[Buffer]) -> dict[str, Any]:
    if array.dtype.kind not in _NUMBERS:
        raise ProtocolError(f"an array of {array.dtype} cannot travel")
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    in_memory = np.ascontiguousarray(array.transpose(axes))
    buffers.append(in_memory.reshape(-1).view(np.uint8))
    return {"array": len(buffers) - 1, "dtype": array.dtype.str, "shape": list(array.shape), "axes": axes}


# ------------------------------------------------------------------------------------------------ plain to value


def _value(plain: Any, expected: Any, buffers: Sequence[Buffer]) -> Any:
    origin = get_origin(expected)
    if expected is Any or (origin is Literal and plain in get_args(expected)):
        return plain
    if origin in (Union, types.UnionType):
        return _one_of(plain, get_args(expected), buffers)
    if origin in (tuple, list, dict):
        return _collection(plain, origin, get_args(expected), buffers)
    if origin is np.ndarray:
        return _array(plain, get_args(expected)[1], buffers)
    if not isinstance(expected, type) or not _fits(plain, expected):
        raise ProtocolError(f"{_kind(plain)} stands where {getattr(expected, '__name__', expected)} belongs")
    if expected in (str, int, bool, type(None)):
        return plain
    if expected in (float, Path):
        return expected(plain)
    if expected is bytes:
        return _buffer(plain["bytes"], buffers).tobytes()
    if issubclass(expected, BaseModel):
        try:
            return expected.model_validate_json(json.dumps(plain))
        except ValidationError as error:
            raise ProtocolError(f"a {expected.__name__} does not fit") from error
    return _dataclass(plain["fields"], expected, buffers)


def _fits(plain: Any, expected: type) -> bool:
    """Whether ``plain`` may be a value of this class, looking no further than its outermost form."""
    if expected in (str, bool, int, type(None)):
        return type(plain) is expected
    if expected is float:
        return type(plain) in (float, int)
    if expected is Path:
        return isinstance(plain, str)
    if not isinstance(plain, dict):
        return False
    if expected is bytes:
        return plain.keys() == {"bytes"}
    if issubclass(expected, BaseModel):
        return True
    named = plain.keys() == {"type", "fields"} and plain["type"] == expected.__name__
    return dataclasses.is_dataclass(expected) and named and isinstance(plain["fields"], dict)


def _kind(plain: Any) -> str:
    named = plain.get("type") if isinstance(plain, dict) else None
    return repr(named)[:60] if isinstance(named, str) else type(plain).__name__


def _one_of(plain: Any, arms: tuple[Any, ...], buffers: Sequence[Buffer]) -> Any:
    if type(plain) in arms:  # 3 stays 3 where a float may stand too
        return plain
    for arm in arms:
        if isinstance(arm, type) and _fits(plain, arm):
            return _value(plain, arm, buffers)
    for arm in arms:
        origin = get_origin(arm)
        if (origin in (tuple, list) and isinstance(plain, list)) or (
            isinstance(plain, dict) and (origin is dict or (origin is np.ndarray and "array" in plain))
        ):
            return _value(plain, arm, buffers)
    raise ProtocolError(f"{_kind(plain)} is not expected here")


def _collection(plain: Any, origin: type, arms: tuple[Any, ...], buffers: Sequence[Buffer]) -> Any:
    if origin is dict and isinstance(plain, dict):
        return {key: _value(item, arms[1], buffers) for key, item in plain.items()}
    if origin is dict or not isinstance(plain, list):
        raise ProtocolError(f"{_kind(plain)} stands where a {origin.__name__} belongs")
    if origin is list or arms[-1] is ...:
        return origin(_value(item, arms[0], buffers) for item in plain)
    if len(plain) != len(arms):
        raise ProtocolError(f"{len(plain)} values stand where {len(arms)} belong")
    return tuple(_value(item, arm, buffers) for item, arm in zip(plain, arms, strict=True))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _dataclass(plain: dict[str, Any], expected: type, buffers: Sequence[Buffer]) -> Any:
    hints = _hints(expected)
    if plain.keys() != hints.keys():
        odd = ", ".join(sorted(map(str, plain.keys() ^ hints.keys())))[:80]
        raise ProtocolError(f"{expected.__name__} has other fields here: {odd}")
    return expected(**{name: _value(item, hints[name], buffers) for name, item in plain.items()})


def _buffer(number: Any, buffers: Sequence[Buffer]) -> Buffer:
    if type(number) is not int or not 0 <= number < len(buffers):
        raise ProtocolError("a buffer is missing")
    return buffers[number]


def _array(plain: Any, dtype_hint: Any, buffers: Sequence[Buffer]) -> npt.NDArray[Any]:
    if not isinstance(plain, dict) or plain.keys() != {"array", "dtype", "shape", "axes"}:
        raise ProtocolError(f"{_kind(plain)} stands where an array belongs")
    shape = _value(plain["shape"], tuple[int, ...], buffers)
    axes = _value(plain["axes"], tuple[int, ...], buffers)
    buffer = _buffer(plain["array"], buffers)
    try:
        dtype = np.dtype(_value(plain["dtype"], str, buffers))
    except TypeError as error:
        raise ProtocolError("an array's type is not known") from error
    (wanted,) = get_args(dtype_hint)
    if dtype.kind not in _NUMBERS or (wanted is not Any and not issubclass(dtype.type, wanted)):
        raise ProtocolError(f"an array holds {dtype}")
    if sorted(axes) != list(range(len(shape))) or min(shape, default=0) < 0:
        raise ProtocolError("an array's axes do not fit")
    if math.prod(shape) * dtype.itemsize != buffer.nbytes:
        raise ProtocolError("an array and its buffer differ in size")
    stored = buffer.view(dtype).reshape([shape[axis] for axis in axes])
    return stored.transpose([axes.index(axis) for axis in range(len(axes))])
