"""Messages through a pipe between the two processes, as plain data (see :mod:`napari_colipri.engine.plain`).

A frame is the number of buffers and the length of each (unsigned, 64 bits, little endian), the JSON, the buffers.
``Connection.send`` and ``recv`` are not used: they pickle.
"""

from __future__ import annotations

import struct
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from napari_colipri.engine.plain import put_together, take_apart
from napari_colipri.errors import ProtocolError

__all__ = ["receive", "send"]

#: A frame with a result that travels inside it stays well below this; a length beyond it is damage.
_LONGEST_BYTES = 64 << 20
_MOST_BUFFERS = 1024


def send(connection: Connection, message: object) -> None:
    """Write a message.

    Raises
    ------
    OSError
        If the other side is gone.
    ProtocolError
        If it holds what cannot travel.
    """
    text, buffers = take_apart(message)
    sizes = [len(text), *(buffer.nbytes for buffer in buffers)]
    head = struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes)
    connection.send_bytes(b"".join([head, text, *(buffer.data for buffer in buffers)]))


def receive(connection: Connection, expected: Any) -> Any:
    """Read a message; its arrays are writeable copies.

    Parameters
    ----------
    connection
        Read end.
    expected
        Union of all messages that may come.

    Raises
    ------
    EOFError, OSError
        If the other side is gone, or announces a frame beyond measure.
    ProtocolError
        If it is none of them.
    """
    frame = np.frombuffer(bytearray(connection.recv_bytes(_LONGEST_BYTES)), dtype=np.uint8)
    count = int.from_bytes(frame[:8].tobytes(), "little")
    start = 8 * (count + 1)
    if not 1 <= count <= _MOST_BUFFERS or start > frame.nbytes:
        raise ProtocolError("a frame's head is damaged")
    sizes = struct.unpack(f"<{count}Q", frame[8:start].tobytes())
    if start + sum(sizes) != frame.nbytes:
        raise ProtocolError("a frame's lengths are damaged")
    parts = []
    for size in sizes:
        parts.append(frame[start : start + size])
        start += size
    # copies, so that every array starts where vector instructions may be used on it
    return put_together(parts[0].tobytes(), [part.copy() for part in parts[1:]], expected)
