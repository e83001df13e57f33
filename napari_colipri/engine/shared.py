"""Arrays in shared memory: made, owned and removed by one process; the other only looks in.

Life cycle. The window's process (the client) makes every block, also those that carry results back, and is the only
one that unlinks. It unlinks a block only after the worker has said that it let go of it or has ended. So no block
outlives the client's :meth:`~napari_colipri.engine.client.EngineClient.close`, a killed worker leaves nothing behind,
and after a crash of the client itself the resource tracker (a process of its own) removes what is left.

Python before 3.13 also registers a block with the resource tracker in the process that merely attaches, and removes
it from under its owner when that process has a tracker of its own. A spawned child shares its parent's tracker, which
keeps names in a set: the second registration changes nothing, as long as it comes before the owner's unlink. The order
above guarantees that, and so the attaching side must not unregister. From 3.13 on it does not register at all.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.engine.plain import put_together, take_apart
from napari_colipri.errors import Cancelled, OutOfResources, ProtocolError

__all__ = ["INLINE_BYTES", "ArrayRef", "AttachedArray", "Block", "Parcel", "pack", "share_array", "unpack"]

#: Results smaller than this travel inside the message, larger ones through a block.
INLINE_BYTES = 1 << 20

#: Arrays inside a block start at multiples of this, so that vector instructions may be used on them.
_ALIGNMENT = 64


@dataclass(frozen=True)
class ArrayRef:
    """Where an array lies in shared memory.

    Attributes
    ----------
    block
        Name of the block.
    shape, dtype
        Of the array as its user indexes it.
    axes
        Order in which its axes lie in memory, slowest first.
    """

    block: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]


class Block:
    """Shared memory that this process makes, owns and removes.

    Parameters
    ----------
    nbytes
        Size, at least 1 byte.

    Raises
    ------
    OutOfResources
        If the memory is not there. It is reserved at once: on Linux a block that turns out too large while it is
        being written would end the process.
    """

    def __init__(self, nbytes: int) -> None:
        self._named = True
        try:
            self._memory: SharedMemory | None = SharedMemory(create=True, size=max(1, nbytes))
            self.name: str = self._memory.name
            _reserve(self.name, nbytes)
        except OSError as error:
            self.release()
            megabytes = nbytes / 2**20
            raise OutOfResources(
                f"There is not enough shared memory for {megabytes:.0f} MB; close other programs or enlarge /dev/shm.",
                code="shared_memory",
            ) from error

    def view(self) -> npt.NDArray[np.uint8]:
        """Return the block's bytes, uint8 [n]. Drop it before :meth:`release`."""
        if self._memory is None:
            raise ValueError("the block has been released")
        return _bytes_of(self._memory)

    def release(self) -> None:
        """Remove the block; further calls do nothing.

        Raises
        ------
        BufferError
            If a view of it is still alive. Its name is gone all the same, and a later call frees the rest.
        """
        memory: SharedMemory | None = getattr(self, "_memory", None)
        if memory is None:
            return
        if self._named:
            self._named = False
            with contextlib.suppress(FileNotFoundError):
                memory.unlink()
        memory.close()
        self._memory = None


def _reserve(name: str, nbytes: int) -> None:
    if not sys.platform.startswith("linux") or nbytes == 0:
        return
    descriptor = os.open(f"/dev/shm/{name}", os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
    finally:
        os.close(descriptor)


def _attach(name: str) -> SharedMemory:
    if sys.version_info >= (3, 13):
        return SharedMemory(name=name, track=False)
    return SharedMemory(name=name)  # see the module's docstring for why this may register


def _bytes_of(memory: SharedMemory) -> npt.NDArray[np.uint8]:
    buffer = memory.buf
    if buffer is None:
        raise ValueError("the memory is closed")
    # frombuffer keeps an export of the buffer for as long as any view lives, so that closing under it raises
    # BufferError; np.ndarray(buffer=...) does not, and such a view would point into nothing.
    return np.frombuffer(buffer, dtype=np.uint8)


def share_array(array: npt.NDArray[Any], stop: Callable[[], bool] = lambda: False) -> tuple[Block, ArrayRef]:
    """Copy an array into a new block, plane by plane along its slowest axis, in its own memory order.

    Parameters
    ----------
    array
        Any shape and strides, negative ones included.
    stop
        Asked between planes; True ends the copy.

    Returns
    -------
    tuple of Block and ArrayRef
        The block is the caller's to release.

    Raises
    ------
    OutOfResources
        If there is no shared memory for it.
    Cancelled
        If ``stop`` said so.
    """
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    ref_shape = tuple(int(n) for n in array.shape)
    block = Block(array.nbytes)
    source = array.transpose(axes)
    target = block.view()[: array.nbytes].view(array.dtype).reshape(source.shape)
    for plane in range(source.shape[0]):
        if stop():
            break
        target[plane] = source[plane]
    else:
        return block, ArrayRef(block.name, ref_shape, array.dtype.str, axes)
    del target
    block.release()
    raise Cancelled


class AttachedArray:
    """An array in a block that another process owns.

    Parameters
    ----------
    ref
        Where it is.

    Attributes
    ----------
    array
        Not writeable, indexed as on the other side; None after :meth:`close`.
    """

    def __init__(self, ref: ArrayRef) -> None:
        self._memory = _attach(ref.block)
        in_memory = tuple(ref.shape[axis] for axis in ref.axes)
        dtype = np.dtype(ref.dtype)
        nbytes = dtype.itemsize * math.prod(ref.shape)
        stored = _bytes_of(self._memory)[:nbytes].view(dtype).reshape(in_memory)
        inverse = tuple(int(axis) for axis in np.argsort(ref.axes))
        stored.flags.writeable = False
        self.array: npt.NDArray[Any] | None = stored.transpose(inverse)

    def close(self) -> bool:
        """Let go of the block; False while somebody else still holds a view of it."""
        self.array = None
        try:
            self._memory.close()
        except BufferError:
            return False
        return True


@dataclass(frozen=True)
class Parcel:
    """A frozen value on its way between the two processes.

    Attributes
    ----------
    body
        The value without its arrays, as JSON.
    sizes
        Bytes of each array that was taken out.
    inline
        Their bytes, where they are small.
    block
        Name of the block that holds them, where they are large.
    """

    body: bytes
    sizes: tuple[int, ...]
    inline: tuple[bytes, ...] = ()
    block: str | None = None


def _offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, end


def pack(value: object, borrow: Callable[[int], str]) -> Parcel:
    """Take a value apart for the journey.

    Parameters
    ----------
    value
        A frozen value of :mod:`napari_colipri.engine.types`, or an array.
    borrow
        Given a number of bytes, returns the name of a block that the other side owns.

    Raises
    ------
    ProtocolError
        If the value holds what cannot travel.
    """
    body, raw = take_apart(value)
    sizes = tuple(int(item.nbytes) for item in raw)
    offsets, total = _offsets(sizes)
    if total < INLINE_BYTES:
        return Parcel(body, sizes, inline=tuple(item.tobytes() for item in raw))
    name = borrow(total)
    memory = _attach(name)
    target = _bytes_of(memory)
    for item, offset in zip(raw, offsets, strict=True):
        target[offset : offset + item.nbytes] = item
    del target
    memory.close()
    return Parcel(body, sizes, block=name)


def unpack(parcel: Parcel, block: Block | None, expected: Any) -> Any:
    """Put a value together again; its arrays are copies, writeable and independent of the block.

    Parameters
    ----------
    parcel
        From :func:`pack`.
    block
        The block that ``parcel.block`` names, or None.
    expected
        Type of the value, or a union of all that it may be.

    Raises
    ------
    ProtocolError
        If it is something else, or damaged.
    """
    if block is None:
        arrays: list[npt.NDArray[np.uint8]] = [np.frombuffer(bytearray(item), dtype=np.uint8) for item in parcel.inline]
    else:
        stored = block.view()
        offsets, end = _offsets(parcel.sizes)
        if end > stored.nbytes or min(parcel.sizes, default=0) < 0:
            raise ProtocolError("a value is larger than its block")
        # numpy copies without holding the interpreter lock: the window goes on drawing
        arrays = [stored[start : start + size].copy() for start, size in zip(offsets, parcel.sizes, strict=True)]
        del stored
    return put_together(parcel.body, arrays, expected)
