"""Size that a JPEG or JPEG 2000 stream declares, read before a decoder takes memory for it."""

from __future__ import annotations

import struct

__all__ = ["declared_size"]

#: Start-of-frame markers of the JPEG family (ITU T.81 B.1.1.3) and of JPEG-LS (T.87).
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_J2K_START = b"\xff\x4f\xff\x51"


def declared_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) as the stream's own header states them, or None for other or damaged streams.

    Parameters
    ----------
    stream
        One frame, JPEG, JPEG-LS or JPEG 2000 (bare codestream, or within the JP2 boxes some writers leave on).
    """
    start = stream.find(_J2K_START, 0, 4096)
    if start >= 0 and len(stream) >= start + 24:
        # SOC, then SIZ: length, capabilities, Xsiz, Ysiz, XOsiz, YOsiz (T.800 A.5.1)
        width, height, left, top = struct.unpack(">IIII", stream[start + 8 : start + 24])
        return height - top, width - left
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", stream[place + 5 : place + 9])
            return height, width
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None
