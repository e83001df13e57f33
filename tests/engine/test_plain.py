"""Plain data between the two processes: every value comes back the same, and nothing else comes in."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_colipri.ct.passport import CODES, Passport, Reason
from napari_colipri.ct.volume import Geometry, Source
from napari_colipri.engine import events, open_bundle, protocol, wire
from napari_colipri.engine.plain import put_together, take_apart
from napari_colipri.engine.shared import ArrayRef, Parcel
from napari_colipri.engine.types import (
    Encoding,
    Finding,
    Findings,
    GeneratedReport,
    HeatMap,
    Segmentation,
    SegmentationClass,
)
from napari_colipri.errors import ProtocolError
from tests.bundles import write_tiny_bundle


def same(one: Any, other: Any) -> bool:
    """Equal in type and value, NaN included, arrays compared by dtype, shape and content."""
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and bool(
            np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, item.name), getattr(other, item.name)) for item in dataclasses.fields(one))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def again(value: object, expected: Any) -> Any:
    text, buffers = take_apart(value)
    return put_together(text, buffers, expected)


# ------------------------------------------------------------------------------------- values of any content

any_text = st.text(st.characters(codec=None), max_size=12)  # lone surrogates too: file names on Linux hold them
number = st.integers(0, 2**53)
real = st.floats(allow_nan=True)
some_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | real | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
facts = st.dictionaries(any_text, some_json, max_size=3)


def arrays(dtype: npt.DTypeLike, rank: int) -> st.SearchStrategy[npt.NDArray[Any]]:
    shapes = hnp.array_shapes(min_dims=rank, max_dims=rank, min_side=0, max_side=4)
    turned = st.permutations(range(rank))
    reversed_ = st.sampled_from([slice(None), slice(None, None, -1), slice(None, None, 2)])
    made = hnp.arrays(np.dtype(dtype), shapes)
    return st.builds(lambda array, order, part: array.transpose(order)[part], made, turned, reversed_)


affine = arrays(np.float64, 2)
texts = st.lists(any_text, max_size=3).map(tuple)
three = st.tuples(real, real, real)
codes = st.none() | st.dictionaries(any_text, any_text, max_size=2)
finding = st.builds(
    Finding,
    any_text,
    st.none() | real,
    texts,
    texts,
    calibration=st.none() | facts,
    note=st.none() | any_text,
    probe=st.none() | facts,
)
segmentation_class = st.builds(
    SegmentationClass, number, any_text, any_text, real, st.none() | real, st.booleans(), codes
)
verdict = st.sampled_from(["ok", "warn", "refuse"])
reasons = st.builds(
    Reason,
    st.sampled_from(sorted(CODES)),
    any_text,
    real | number | any_text | st.lists(real, max_size=3) | st.none(),
    verdict,
    verdict,
)
passports = st.builds(Passport, st.lists(reasons, max_size=2).map(tuple), facts, facts)
sizes = st.tuples(number, number, number)
letters = st.tuples(any_text, any_text, any_text)
positions = st.none() | st.lists(real, max_size=3).map(tuple)
geometries = st.builds(Geometry, sizes, three, letters, st.booleans(), real, real, positions)
maybe = st.none() | any_text
sources = st.builds(Source, st.sampled_from(["nifti", "nrrd", "mha", "dicom"]), any_text, *[maybe] * 7)
refs = st.builds(ArrayRef, any_text, st.lists(number, max_size=4).map(tuple), any_text, st.just((0, 1)))
failures = st.builds(protocol.Failure, any_text, any_text, any_text)

ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "encoding": st.builds(
        Encoding,
        arrays(np.float16, 4),
        arrays(np.float32, 1),
        affine,
        arrays(np.bool_, 3),
        any_text,
        any_text,
        any_text,
        any_text,
    ),
    "findings": st.builds(Findings, any_text, any_text, st.lists(finding, max_size=2).map(tuple), texts),
    "heat map": st.builds(HeatMap, arrays(np.float32, 3), affine, three, real, any_text, any_text),
    "masks": st.builds(
        Segmentation,
        arrays(np.uint8, 3),
        st.lists(segmentation_class, max_size=2).map(tuple),
        any_text,
        any_text,
        texts,
    ),
    "text": st.builds(GeneratedReport, texts, st.booleans(), any_text, any_text, texts),
    "absent": st.builds(events.Absent, any_text, any_text, any_text),
    "vectors": arrays(np.float32, 2),
}
TO_WORKER: dict[str, st.SearchStrategy[Any]] = {
    "Configure": st.builds(protocol.Configure, maybe, any_text, any_text),
    "HoldVolume": st.builds(
        protocol.HoldVolume,
        number,
        st.none() | refs,
        st.none() | affine,
        st.none() | geometries,
        st.none() | sources,
        st.none() | passports,
        any_text,
    ),
    "Lend": st.builds(protocol.Lend, number, maybe, st.none() | failures),
    "Cancel": st.builds(protocol.Cancel, number),
    "Load": st.builds(protocol.Load, number),
    "Analyse": st.builds(protocol.Analyse, number, texts),
    "AskFindings": st.builds(protocol.AskFindings, number, texts),
    "Localise": st.builds(protocol.Localise, number, any_text),
    "Segment": st.builds(protocol.Segment, number),
    "EmbedText": st.builds(protocol.EmbedText, number, texts),
}
parcels = st.builds(
    Parcel,
    st.binary(max_size=9),
    st.lists(number, max_size=2).map(tuple),
    st.lists(st.binary(max_size=9), max_size=2).map(tuple),
    maybe,
)
TO_CLIENT: dict[str, st.SearchStrategy[Any]] = {
    "Started": st.builds(protocol.Started, number),
    "Advanced": st.builds(protocol.Advanced, number, real, any_text),
    "Loaded": st.builds(events.Loaded, number, any_text, any_text, any_text),
    "Need": st.builds(protocol.Need, number, number),
    "Delivered": st.builds(protocol.Delivered, number, parcels),
    "Finished": st.builds(protocol.Finished, number),
    "Broke": st.builds(protocol.Broke, number, failures),
    "Holding": st.builds(protocol.Holding, number),
}


def names_of(union: Any) -> set[str]:
    return {arm.__name__ for arm in union.__args__}


def test_every_message_is_tried_here() -> None:
    assert names_of(protocol.ToWorker) == set(TO_WORKER)
    assert names_of(protocol.Message) == set(TO_CLIENT)
    assert len(events.Answer.__args__) == len(ANSWERS)


@pytest.mark.parametrize("kind", ANSWERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_answer_comes_back_the_same(kind: str, data: st.DataObject) -> None:
    value = data.draw(ANSWERS[kind])
    assert same(again(value, events.Answer), value)


@pytest.mark.parametrize(
    ("kind", "made", "expected"),
    [
        *((kind, made, protocol.ToWorker) for kind, made in TO_WORKER.items()),
        *((kind, made, protocol.Message) for kind, made in TO_CLIENT.items()),
    ],
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_message_comes_back_the_same_through_a_pipe(
    kind: str, made: st.SearchStrategy[Any], expected: Any, data: st.DataObject
) -> None:
    value = data.draw(made)
    there, here = multiprocessing.Pipe(duplex=False)
    with there, here:
        wire.send(here, value)
        assert same(wire.receive(there, expected), value)


def test_a_verified_bundle_travels_whole(tmp_path: Path) -> None:
    bundle = open_bundle(write_tiny_bundle(tmp_path / "tiny"))
    arrived = again(protocol.Configure(bundle), protocol.ToWorker).bundle
    assert arrived == bundle
    assert isinstance(arrived.path, Path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_contiguous_array_is_not_copied_on_either_side(order: Any) -> None:
    labels = np.zeros((3, 4, 5), np.uint8, order=order)
    text, buffers = take_apart(Segmentation(labels, (), "demo", "0"))
    assert np.shares_memory(buffers[0], labels)
    arrived = put_together(text, buffers, events.Answer)
    assert np.shares_memory(arrived.labels, labels)
    assert arrived.labels.strides == labels.strides


def test_numpy_scalars_arrive_as_plain_numbers() -> None:
    value = SegmentationClass(1, "a", "A", np.float32(0.5), np.float64(2.0), np.bool_(True))  # type: ignore[arg-type]
    arrived = again(value, SegmentationClass)
    assert same(arrived, SegmentationClass(1, "a", "A", 0.5, 2.0, True))


# ------------------------------------------------------------------------------------- what is not understood


def heat_map() -> HeatMap:
    return HeatMap(np.zeros((2, 3, 4), np.float32), np.eye(4), (1.0, 2.0, 3.0), 0.5, "nodule", "demo")


def changed(change: Callable[[dict[str, Any]], object]) -> tuple[bytes, list[npt.NDArray[np.uint8]]]:
    text, buffers = take_apart(heat_map())
    plain = json.loads(text)
    change(plain)
    return json.dumps(plain).encode(), buffers


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(type="Popen"),
        lambda plain: plain.update(type=["HeatMap"]),
        lambda plain: plain.update(extra=1),
        lambda plain: plain.pop("fields"),
        lambda plain: plain["fields"].update(__class__="os.system"),
        lambda plain: plain["fields"].pop("text"),
        lambda plain: plain["fields"].update(text=7),
        lambda plain: plain["fields"].update(peak_value=True),
        lambda plain: plain["fields"].update(peak_mm=[1.0, 2.0]),
        lambda plain: plain["fields"].update(values=[1.0]),
        lambda plain: plain["fields"]["values"].update(array=2),
        lambda plain: plain["fields"]["values"].update(array=-1),
        lambda plain: plain["fields"]["values"].update(dtype="|O"),
        lambda plain: plain["fields"]["values"].update(dtype="no such type"),
        lambda plain: plain["fields"]["values"].update(dtype="<f8"),
        lambda plain: plain["fields"]["values"].update(shape=[2, 3, 5]),
        lambda plain: plain["fields"]["values"].update(shape=[-2, -3, 4]),
        lambda plain: plain["fields"]["values"].update(axes=[0, 1, 1]),
        lambda plain: plain["fields"]["values"].pop("axes"),
    ],
)
def test_an_unknown_name_field_or_array_is_a_typed_error(change: Callable[[dict[str, Any]], object]) -> None:
    text, buffers = changed(change)
    with pytest.raises(ProtocolError) as caught:
        put_together(text, buffers, events.Answer)
    assert caught.value.code == "protocol"


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 100_000, b"null", b'"text"', b"3", b"[]", b"{}"])
def test_what_is_no_value_at_all_is_a_typed_error(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        put_together(text, [], events.Answer)


@pytest.mark.parametrize("value", [object(), {1: 2}, np.array([object()]), np.zeros(3, complex), {1}])
def test_what_is_not_plain_does_not_leave(value: object) -> None:
    with pytest.raises(ProtocolError, match="cannot travel"):
        take_apart(value)


def test_values_that_were_not_verified_are_verified_again(tmp_path: Path) -> None:
    text, buffers = take_apart(protocol.Configure(open_bundle(write_tiny_bundle(tmp_path / "tiny"))))
    plain = json.loads(text)
    plain["fields"]["bundle"]["fields"]["config"]["vision"]["depth"] = 10**6
    with pytest.raises(ProtocolError, match="BundleConfig"):
        put_together(json.dumps(plain).encode(), buffers, protocol.ToWorker)


@settings(max_examples=200, deadline=None)
@given(frame=st.binary(max_size=64))
def test_no_bytes_do_more_than_raise(frame: bytes) -> None:
    there, here = multiprocessing.Pipe(duplex=False)
    with there, here:
        here.send_bytes(frame)
        with pytest.raises(ProtocolError):
            wire.receive(there, protocol.Message)


CAST: list[int] = []


class Spell:
    """Would run when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return cast_it, (1,)


def cast_it(spell: int) -> None:
    CAST.append(spell)


def test_a_pickle_in_the_pipe_is_refused_and_not_loaded() -> None:
    there, here = multiprocessing.Pipe(duplex=False)
    with there, here:
        here.send(Spell())
        with pytest.raises(ProtocolError):
            wire.receive(there, protocol.Message)
    assert CAST == []
    pickle.loads(pickle.dumps(Spell()))  # noqa: S301 - the trap works
    assert CAST == [1]


def test_a_frame_beyond_measure_is_not_waited_for() -> None:
    there, here = multiprocessing.Pipe(duplex=False)
    with there, here:
        _announce(here, 1 << 30)
        with pytest.raises(OSError, match="length"):
            wire.receive(there, protocol.Message)


def _announce(connection: Connection, nbytes: int) -> None:
    """Write the length that multiprocessing puts before a message, and no message."""
    os.write(connection.fileno(), nbytes.to_bytes(4, "big"))
