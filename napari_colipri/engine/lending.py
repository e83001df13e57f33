"""The blocks of shared memory that a client owns: the volume's, and those lent to the worker for its results.

Used by the client's thread only. A block is removed when the worker has let go of it, has answered, or has ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import protocol
from napari_colipri.engine.shared import ArrayRef, Block, share_array
from napari_colipri.errors import Cancelled, OutOfResources, ProtocolError

__all__ = ["Lending"]


class Lending:
    """Makes blocks, knows who looks into them, removes them."""

    def __init__(self) -> None:
        self._volume: tuple[CTVolume, Block, ArrayRef] | None = None
        self._shown = False  # whether the worker was told of the volume's block
        self._serial = 0
        self._retired: list[tuple[int, Block]] = []
        self._lent: dict[str, tuple[int, Block]] = {}

    def share(self, volume: CTVolume, stop: Callable[[], bool]) -> None:
        """Copy a volume into a block of its own, unless that was done.

        Raises
        ------
        OutOfResources, Cancelled
            As :func:`~napari_colipri.engine.shared.share_array`.
        """
        if self._volume is None or self._volume[0] is not volume:
            self._volume = (volume, *share_array(volume.hu, stop))
            self._shown = False

    def show(self, volume: CTVolume, stop: Callable[[], bool]) -> protocol.HoldVolume | None:
        """Share a volume and return what tells the worker of it, or None if it knows; raises as :meth:`share`."""
        self.share(volume, stop)
        if self._shown or self._volume is None:
            return None
        self._shown = True
        self._serial += 1
        return protocol.HoldVolume(
            self._serial,
            self._volume[2],
            volume.affine,
            volume.geometry,
            dataclasses.replace(volume.source, path=""),
            volume.passport,
            volume.fingerprint,
        )

    def withdraw(self) -> protocol.HoldVolume | None:
        """Give up the volume's block; returns what asks the worker to let go, or None if it never saw it."""
        if self._volume is None:
            return None
        block = self._volume[1]
        self._volume = None
        if not self._shown:
            block.release()
            return None
        self._shown = False
        self._serial += 1
        self._retired.append((self._serial, block))
        return protocol.HoldVolume(self._serial)

    def let_go(self, serial: int) -> None:
        """Remove the blocks that the worker let go of when it followed the message with this number."""
        for number, block in self._retired:
            if number <= serial:
                block.release()
        self._retired = [item for item in self._retired if item[0] > serial]

    def lend(self, request: int, nbytes: int, *, wanted: bool) -> protocol.Lend:
        """Make a block for a result; an unwanted result gets none."""
        if not wanted:
            return protocol.Lend(request, failure=protocol.failure_of(Cancelled()))
        try:
            block = Block(nbytes)
        except OutOfResources as error:
            return protocol.Lend(request, failure=protocol.failure_of(error))
        self._lent[block.name] = (request, block)
        return protocol.Lend(request, block.name)

    def take_back(self, name: str) -> Block:
        """Return a lent block that has been filled; the caller releases it.

        Raises
        ------
        ProtocolError
            If no block of this name is lent.
        """
        if name not in self._lent:
            raise ProtocolError("a block that was not lent comes back")
        return self._lent.pop(name)[1]

    def settle(self, request: int) -> None:
        """Remove what was lent for a request that has ended."""
        for name, (owner, block) in list(self._lent.items()):
            if owner == request:
                del self._lent[name]
                block.release()

    def worker_gone(self) -> None:
        """Remove everything but the volume's block: its process has ended, nobody else looks into them."""
        for _, block in (*self._retired, *self._lent.values()):
            block.release()
        self._retired.clear()
        self._lent.clear()
        self._shown = False

    def clear(self) -> None:
        """Remove everything; the worker must have ended."""
        self.worker_gone()
        self.withdraw()
