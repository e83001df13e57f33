"""Arrays in shared memory: any strides go in, the same numbers come out, and nothing stays behind."""

from __future__ import annotations

import errno
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_colipri.engine import shared
from napari_colipri.engine.shared import INLINE_BYTES, AttachedArray, Block, pack, share_array, unpack
from napari_colipri.engine.types import HeatMap
from napari_colipri.errors import Cancelled, OutOfResources, ProtocolError


def exists(name: str) -> bool:
    try:
        SharedMemory(name=name).close()
    except FileNotFoundError:
        return False
    return True


def views() -> list[npt.NDArray[np.int16] | npt.NDArray[np.float32]]:
    base = np.arange(10 * 12 * 14, dtype=np.int16).reshape(10, 12, 14)
    return [
        base,
        np.asfortranarray(base),
        base[::-1, ::2, 1:-1],
        base.transpose(2, 0, 1)[:, ::-1, :],
        base.astype(np.float32)[..., ::-3],
        base[3:4],
    ]


@pytest.mark.parametrize("array", views(), ids=lambda array: f"{array.dtype}{array.strides}")
def test_an_array_of_any_strides_reads_the_same_on_the_other_side(array: npt.NDArray[np.int16]) -> None:
    block, ref = share_array(array)
    other = AttachedArray(ref)
    assert other.array is not None
    assert other.array.dtype == array.dtype
    np.testing.assert_array_equal(other.array, array)
    assert not other.array.flags.writeable
    assert other.close()
    block.release()
    assert not exists(block.name)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(3)), steps=st.tuples(*[st.sampled_from([-2, -1, 1, 3])] * 3))
def test_memory_order_is_kept_so_that_copies_run_along_memory(order: list[int], steps: tuple[int, int, int]) -> None:
    array = np.arange(7 * 5 * 9, dtype=np.int16).reshape(7, 5, 9).transpose(order)
    array = array[:: steps[0], :: steps[1], :: steps[2]]
    block, ref = share_array(array)
    along_memory = [abs(array.strides[axis]) for axis in ref.axes]
    assert along_memory == sorted(along_memory, reverse=True)
    other = AttachedArray(ref)
    np.testing.assert_array_equal(other.array, array)
    other.close()
    block.release()


def test_copying_stops_between_planes_and_leaves_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    monkeypatch.setattr(shared, "Block", lambda nbytes: names.append(block := Block(nbytes)) or block)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        share_array(np.zeros((5, 5, 5), np.int16), stop=lambda: next(asked))
    assert not exists(names[0].name)


def test_a_block_can_be_released_twice_and_refuses_views_afterwards() -> None:
    block = Block(10)
    block.release()
    block.release()
    with pytest.raises(ValueError, match="released"):
        block.view()


def test_a_block_whose_view_lives_on_loses_its_name_all_the_same() -> None:
    block = Block(10)
    view = block.view()
    with pytest.raises(BufferError):
        block.release()
    assert not exists(block.name)
    view[:] = 1
    del view
    block.release()


def test_shared_memory_that_is_not_there_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def full(name: str, nbytes: int) -> None:
        names.append(name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shared, "_reserve", full)
    with pytest.raises(OutOfResources, match="not enough shared memory for 3 MB") as caught:
        Block(3 * 2**20)
    assert caught.value.code == "shared_memory"
    assert not exists(names[0])


def test_someone_who_still_looks_keeps_the_block_open_until_he_lets_go() -> None:
    block, ref = share_array(np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    other = AttachedArray(ref)
    assert other.array is not None
    kept = other.array[0]
    assert not other.close()
    del kept
    assert other.close()
    block.release()


def heat_map(side: int) -> HeatMap:
    values = np.random.default_rng(1).random((side, side, side)).astype(np.float32)
    return HeatMap(values, np.eye(4), (1.0, 2.0, 3.0), 0.5, "nodule", "demo")


@pytest.mark.parametrize("side", [4, 80])
def test_a_value_arrives_whole_small_in_the_message_and_large_in_a_block(side: int) -> None:
    blocks: list[Block] = []

    def borrow(nbytes: int) -> str:
        blocks.append(Block(nbytes))
        return blocks[-1].name

    value = heat_map(side)
    parcel = pack(value, borrow)
    large = value.values.nbytes >= INLINE_BYTES
    assert bool(blocks) == large
    assert len(parcel.body) < 1000
    arrived = unpack(parcel, blocks[0] if blocks else None, HeatMap)
    for block in blocks:
        block.release()
    assert isinstance(arrived, HeatMap)
    np.testing.assert_array_equal(arrived.values, value.values)
    np.testing.assert_array_equal(arrived.affine, value.affine)
    assert arrived.peak_mm == value.peak_mm
    assert arrived.values.flags.writeable


def test_a_value_that_claims_more_than_its_block_is_not_read() -> None:
    blocks: list[Block] = []

    def borrow(nbytes: int) -> str:
        blocks.append(Block(nbytes))
        return blocks[-1].name

    parcel = pack(heat_map(80), borrow)
    small = Block(INLINE_BYTES)
    with pytest.raises(ProtocolError, match="larger than its block"):
        unpack(parcel, small, HeatMap)
    for block in (*blocks, small):
        block.release()
