"""The engine as a process of its own: what comes back, what stops, what survives a death, what is left behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import weakref
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_colipri.ct.passport import reason
from napari_colipri.engine import client as engine_client
from napari_colipri.engine import events, shared
from napari_colipri.engine.client import EngineClient
from napari_colipri.engine.events import Absent, Answered, Died, Done, Failed, Loaded, Progressed, Unloaded
from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, Segmentation
from napari_colipri.errors import (
    BundleError,
    Cancelled,
    ColipriError,
    OutOfResources,
    StudyRefused,
    WorkerDied,
)
from tests.bundles import write_tiny_bundle
from tests.engine.engine_events import OPTIONS, Box, engine, small_volume, volume_of
from tests.fake_session import GARBAGE, HALF, SECRET, fake_bundle

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@pytest.fixture(autouse=True)
def no_block_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every block that a test made is gone when its client is closed."""
    made: list[str] = []

    class Recorded(SharedMemory):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if kwargs.get("create"):
                made.append(self.name)

    monkeypatch.setattr(shared, "SharedMemory", Recorded)
    yield made
    for name in made:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name=name)


def facts(encoding: Encoding) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(encoding.preset)
    return told


# ------------------------------------------------------------------------------------------------ answers


def test_analyse_streams_encoding_findings_and_masks_in_that_order() -> None:
    volume = small_volume()
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(volume)
        request = client.submit("analyse", prompts=["a stent"])
        assert isinstance(box.end(request), Done)
        encoding, findings, masks = box.answers(request)
    assert isinstance(encoding, Encoding)
    assert isinstance(findings, Findings)
    assert isinstance(masks, Segmentation)
    assert encoding.volume_fingerprint == volume.fingerprint
    assert [item.name for item in findings.items] == ["Pleural effusion", "a stent"]
    np.testing.assert_array_equal(masks.labels, volume.hu > 0)


def test_a_bundle_that_writes_text_answers_with_it_last() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("writes"))
        client.put(small_volume())
        request = client.submit("analyse")
        assert isinstance(box.end(request), Done)
        written = box.answers(request)[-1]
    assert isinstance(written, GeneratedReport)
    assert written.sentences == ("The heart is enlarged.",)
    assert written.finished


def test_findings_arrive_before_the_masks_are_made() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(small_volume())
        request = client.submit("analyse")
        box.end(request)
    told = [type(event.value) if isinstance(event, Answered) else getattr(event, "text", "") for event in box.seen]
    assert told.index(Findings) < told.index("Masks") < told.index(Segmentation)


def strided_views() -> list[npt.NDArray[np.int16] | npt.NDArray[np.float32]]:
    base = np.random.default_rng(3).integers(-1000, 1000, (12, 14, 10)).astype(np.int16)
    return [base, np.asfortranarray(base), base.transpose(2, 0, 1)[::-1, :, ::2], base.astype(np.float32) + 0.25]


def test_a_volume_of_any_strides_and_type_arrives_bit_for_bit() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        for hu in strided_views():
            client.put(volume_of(hu))
            request = client.submit("analyse")
            box.end(request)
            encoding = box.answers(request)[0]
            assert isinstance(encoding, Encoding)
            assert facts(encoding)["same"]
            assert not facts(encoding)["writeable"]


def test_large_masks_travel_through_shared_memory_and_are_the_callers_to_edit() -> None:
    volume = volume_of(np.random.default_rng(5).integers(-5, 5, (160, 120, 80)).astype(np.int16))
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(volume)
        request = client.submit("segment")
        box.end(request)
        (masks,) = box.answers(request)
    assert isinstance(masks, Segmentation)
    assert masks.labels.nbytes > shared.INLINE_BYTES
    np.testing.assert_array_equal(masks.labels, volume.hu > 0)
    masks.labels[0, 0, 0] = 7


def test_a_path_never_travels_and_the_window_draws_first() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(small_volume())
        request = client.submit("analyse")
        box.end(request)
        encoding = box.answers(request)[0]
    assert isinstance(encoding, Encoding)
    told = facts(encoding)
    assert told["path"] == ""
    assert told["pid"] != os.getpid()
    assert told["napari"] is False
    if hasattr(os, "nice"):
        assert told["nice"] > os.nice(0)


def test_a_study_is_copied_while_it_opens_unless_its_passport_refuses_it(no_block_left_behind: list[str]) -> None:
    refused = small_volume()
    object.__setattr__(refused, "passport", refused.passport.with_reasons(reason("not_hu", "No HU values.")))
    with engine() as (client, box):
        client.put(refused)
        box.end(client.start(fake_bundle()))
        assert no_block_left_behind == []
        client.put(small_volume())
        box.end(client.submit("load"))
        assert len(no_block_left_behind) == 1
        box.end(client.submit("analyse"))
    assert len(no_block_left_behind) == 1


def test_single_questions_reuse_the_encoding() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(small_volume())
        client.submit("analyse")
        asked = client.submit("findings", prompts=("a pacemaker",))
        shown = client.submit("localise", text="Pleural effusion")
        embedded = client.submit("embed_text", texts=["a", "abc"])
        box.end(embedded)
    (findings,), (heat,), (vectors,) = (box.answers(number) for number in (asked, shown, embedded))
    assert isinstance(findings, Findings)
    assert findings.items[-1].name == "a pacemaker"
    assert isinstance(heat, HeatMap)
    assert heat.text == "Pleural effusion"
    np.testing.assert_array_equal(vectors, [[1, 1], [3, 1]])
    assert sum(isinstance(event, Progressed) and event.text == "Encoding" for event in box.seen) == 6


def test_a_bundle_without_a_decoder_says_so_and_gives_its_other_answers() -> None:
    with engine() as (client, box):
        client.start(fake_bundle(decoder=False))
        client.put(small_volume())
        request = client.submit("analyse")
        assert isinstance(box.end(request), Done)
        alone = client.submit("segment")
        failed = box.wait(Failed, alone)
    assert box.answers(request)[-1] == Absent("segmentation", "This bundle has no segmentation decoder.", "no_decoder")
    assert failed.error.code == "no_decoder"


def test_progress_never_falls_and_ends_at_one() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("uneven progress"))
        client.put(small_volume())
        request = client.submit("analyse")
        box.end(request)
    told = [event.fraction for event in box.seen if isinstance(event, Progressed) and event.request == request]
    assert told == sorted(told)
    assert told[0] >= 0.0
    assert told[-1] == 1.0


def test_loading_tells_device_and_precision_and_happens_once() -> None:
    with engine() as (client, box):
        first = client.start(fake_bundle(), device="cuda:1")
        assert isinstance(box.end(first), Done)
        client.put(small_volume())
        box.end(client.submit("analyse"))
    loads = [event for event in box.seen if isinstance(event, Loaded)]
    assert loads == [Loaded(first, "cuda:1", "float32", "CPU, float32", ("cpu",))]


def test_another_bundle_takes_over_in_the_same_process() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(small_volume())
        box.end(client.submit("analyse"))
        before = client.pid
        box.end(client.start(fake_bundle(decoder=False)))
        request = client.submit("analyse")
        box.end(request)
        assert client.pid == before
    assert isinstance(box.answers(request)[-1], Absent)


def test_the_real_session_answers_from_a_bundle_on_disk(tmp_path: Path) -> None:
    axis = np.linspace(-1, 1, 48)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    values = np.where(radius < 0.7, 40, -900).astype(np.int16)
    volume = volume_of(values)
    object.__setattr__(volume, "affine", np.diag([5.0, 5.0, 5.0, 1.0]))
    folder = write_tiny_bundle(tmp_path / "tiny")
    box = Box()
    client = EngineClient(box)
    try:
        client.start(str(folder), device="cpu")
        client.put(volume)
        request = client.submit("analyse", prompts=["pleural effusion in the left lung"])
        assert isinstance(box.end(request), Done)
        shown = client.submit("localise", text="Cardiomegaly")
        assert isinstance(box.end(shown), Done)
    finally:
        client.close()
    encoding, findings, masks = box.answers(request)
    (heat,) = box.answers(shown)
    assert isinstance(encoding, Encoding)
    assert encoding.volume_fingerprint == volume.fingerprint
    assert isinstance(findings, Findings)
    assert [item.name for item in findings.items][-1] == "pleural effusion in the left lung"
    assert isinstance(masks, Segmentation)
    assert masks.labels.shape == volume.hu.shape
    assert isinstance(heat, HeatMap)
    loaded = next(event for event in box.seen if isinstance(event, Loaded))
    assert (loaded.device, loaded.precision) == ("cpu", "float32")


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("mode", "kind", "code"),
    [
        ("device memory", OutOfResources, "out_of_memory"),
        ("memory", OutOfResources, "out_of_memory"),
        ("defect", ColipriError, "engine_error"),
        ("unloadable", BundleError, "changed"),
    ],
)
def test_errors_arrive_typed_without_a_path_and_the_process_lives_on(
    mode: str, kind: type[ColipriError], code: str
) -> None:
    with engine() as (client, box):
        client.start(fake_bundle(mode))
        client.put(small_volume())
        request = client.submit("analyse")
        failed = box.wait(Failed, request)
        before = client.pid
        box.end(client.start(fake_bundle()))
        assert client.pid == before
    assert type(failed.error) is kind
    assert failed.error.code == code
    assert SECRET not in failed.error.message
    assert failed.error.message.endswith(".")


def test_a_question_without_a_study_is_answered_with_a_sentence() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        request = client.submit("analyse")
        assert box.wait(Failed, request).error.code == "no_volume"


def test_a_study_that_its_passport_refuses_is_not_analysed() -> None:
    volume = small_volume()
    object.__setattr__(volume, "passport", volume.passport.with_reasons(reason("not_hu", "No HU values.")))
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(volume)
        failed = box.wait(Failed, client.submit("analyse"))
    assert isinstance(failed.error, StudyRefused)
    assert failed.error.code == "not_hu"


def test_full_shared_memory_fails_the_request_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine() as (client, box):
        box.end(client.start(fake_bundle()))
        with monkeypatch.context() as patch:
            patch.setattr(shared, "_reserve", lambda name, nbytes: (_ for _ in ()).throw(OSError(28, "full")))
            client.put(small_volume())
            assert box.wait(Failed, client.submit("analyse")).error.code == "shared_memory"
        assert isinstance(box.end(client.submit("analyse")), Done)


def test_an_unknown_kind_of_request_is_refused_at_once() -> None:
    with engine() as (client, _), pytest.raises(ValueError, match="unknown kind"):
        client.submit("guess")


def test_a_defect_in_the_owners_callback_does_not_end_the_conversation() -> None:
    box = Box()

    def on_event(event: events.Event) -> None:
        box(event)
        if isinstance(event, Loaded):
            raise RuntimeError("a defect in the window")

    client = EngineClient(on_event, options=OPTIONS)
    try:
        assert isinstance(box.end(client.start(fake_bundle())), Done)
    finally:
        client.close()


# ------------------------------------------------------------------------------------------------- cancel


def test_cancel_stops_the_encoding_and_keeps_the_process() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("endless"))
        client.put(small_volume())
        request = client.submit("analyse")
        while box.wait(Progressed, request).text != "Endless":
            pass
        before = client.pid
        client.cancel(request)
        assert isinstance(box.wait(Failed, request).error, Cancelled)
        assert isinstance(box.end(client.start(fake_bundle())), Done)
        assert client.pid == before
        assert isinstance(box.end(client.submit("analyse")), Done)
    assert box.answers(request) == []


def test_a_process_that_does_not_listen_is_ended_after_its_grace_and_the_queue_goes_on() -> None:
    with engine(cpu_grace_s=0.05) as (client, box):
        client.start(fake_bundle("deaf"))
        client.put(small_volume())
        stuck = client.submit("analyse")
        waiting = client.submit("embed_text", texts=["still wanted"])
        while box.wait(Progressed, stuck).text != "Deaf":
            pass
        before = client.pid
        client.cancel(stuck)
        assert isinstance(box.wait(Failed, stuck).error, Cancelled)
        assert isinstance(box.end(waiting), Done)
        assert client.pid != before
    assert not any(isinstance(event, Died) for event in box.drain())


def test_cancelling_what_still_waits_leaves_alone_what_runs() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("endless"))
        client.put(small_volume())
        running = client.submit("analyse")
        waiting = client.submit("findings")
        while box.wait(Progressed, running).text != "Endless":
            pass
        client.cancel(waiting)
        assert isinstance(box.wait(Failed, waiting).error, Cancelled)
        client.cancel(running)
        assert isinstance(box.wait(Failed, running).error, Cancelled)


def test_stale_and_unknown_ids_are_ignored() -> None:
    with engine() as (client, box):
        done = client.start(fake_bundle())
        box.end(done)
        client.cancel(done)
        client.cancel(12345)
        assert isinstance(box.end(client.submit("load")), Done)
    assert not any(isinstance(event, Failed) for event in box.drain())


def test_another_study_cancels_what_runs_for_the_former() -> None:
    second = small_volume(2)
    with engine() as (client, box):
        client.start(fake_bundle("endless"))
        client.put(small_volume(1))
        former = client.submit("analyse")
        while box.wait(Progressed, former).text != "Endless":
            pass
        client.put(second)
        assert isinstance(box.wait(Failed, former).error, Cancelled)
        client.start(fake_bundle())
        request = client.submit("analyse")
        box.end(request)
    encoding = box.answers(request)[0]
    assert isinstance(encoding, Encoding)
    assert encoding.volume_fingerprint == second.fingerprint


def test_studies_that_come_and_go_quickly_end_at_the_last() -> None:
    volumes = [small_volume(seed) for seed in range(6)]
    with engine() as (client, box):
        client.start(fake_bundle())
        for volume in volumes:
            client.put(volume)
            last = client.submit("analyse")
            client.put(None)
        client.put(volumes[-1])
        last = client.submit("analyse")
        assert isinstance(box.end(last), Done)
    encoding = box.answers(last)[0]
    assert isinstance(encoding, Encoding)
    assert encoding.volume_fingerprint == volumes[-1].fingerprint
    assert not any(isinstance(event, Died) for event in box.drain())


# -------------------------------------------------------------------------------------------------- death


def test_a_killed_process_costs_one_sentence_and_the_next_request_starts_another() -> None:
    volume = small_volume()
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(volume)
        box.end(client.submit("analyse"))
        killed = client.pid
        assert killed is not None
        os.kill(killed, KILL)
        died = box.wait(Died)
        assert client.pid is None
        request = client.submit("analyse")
        assert isinstance(box.end(request), Done)
        assert client.pid not in (None, killed)
    encoding = box.answers(request)[0]
    assert isinstance(encoding, Encoding)
    assert encoding.volume_fingerprint == volume.fingerprint
    assert facts(encoding)["encoded"] == 1
    assert isinstance(died.error, WorkerDied)
    assert died.error.message.count(".") == 1
    assert sum(isinstance(event, Died) for event in box.drain()) == 1


def test_death_while_busy_fails_every_request_and_tells_once() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("crash"))
        client.put(small_volume())
        busy, waiting = client.submit("analyse"), client.submit("localise", text="nodule")
        died = box.wait(Died)
        assert isinstance(box.wait(Failed, busy).error, WorkerDied)
        assert isinstance(box.wait(Failed, waiting).error, WorkerDied)
        assert isinstance(box.end(client.start(fake_bundle())), Done)
        assert isinstance(box.end(client.submit("analyse")), Done)
    if os.name == "posix":
        assert "memory" in died.error.message
    assert sum(isinstance(event, Died) for event in box.drain()) == 1


@pytest.mark.parametrize("what", GARBAGE)
def test_a_process_that_says_what_cannot_be_understood_is_ended_with_a_sentence(what: str) -> None:
    with engine() as (client, box):
        client.start(fake_bundle(what))
        client.put(small_volume())
        busy, waiting = client.submit("analyse"), client.submit("localise", text="nodule")
        died = box.wait(Died)
        assert isinstance(box.wait(Failed, busy).error, WorkerDied)
        assert isinstance(box.wait(Failed, waiting).error, WorkerDied)
        assert isinstance(box.end(client.start(fake_bundle())), Done)
        assert isinstance(box.end(client.submit("analyse")), Done)
    assert died.error.message.endswith("it starts again with the next request.")
    assert sum(isinstance(event, Died) for event in box.drain()) == 1


def test_unload_ends_the_process_and_the_next_request_brings_it_back() -> None:
    with engine() as (client, box):
        client.start(fake_bundle())
        client.put(small_volume())
        box.end(client.submit("analyse"))
        client.unload()
        box.wait(Unloaded)
        assert client.pid is None
        request = client.submit("analyse")
        assert isinstance(box.end(request), Done)
    assert any(isinstance(event, Loaded) and event.request == request for event in box.seen)


def test_unload_while_busy_cancels() -> None:
    with engine() as (client, box):
        client.start(fake_bundle("deaf"))
        client.put(small_volume())
        request = client.submit("analyse")
        while box.wait(Progressed, request).text != "Deaf":
            pass
        client.unload()
        assert isinstance(box.wait(Failed, request).error, Cancelled)
        box.wait(Unloaded)


# -------------------------------------------------------------------------------------------------- close


@pytest.mark.parametrize("mode", ["endless", "deaf"])
def test_close_while_busy_ends_the_process_and_says_no_more(mode: str) -> None:
    box = Box()
    client = EngineClient(box, options=OPTIONS)
    client.start(fake_bundle(mode))
    client.put(small_volume())
    request = client.submit("analyse")
    while box.wait(Progressed, request).text != mode.capitalize():
        pass
    pid = client.pid
    assert pid is not None
    client.close()
    client.close()
    before = len(box.drain())
    assert client.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(box.drain()) == before
    with pytest.raises(ColipriError, match="closed"):
        client.submit("analyse")


def test_close_does_not_wait_for_the_rest_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "_CLOSE_S", 0.2)
    box = Box()
    client = EngineClient(box, options=OPTIONS)
    client.start(fake_bundle(HALF))
    client.put(small_volume())
    request = client.submit("analyse")
    while box.wait(Progressed, request).text != HALF:
        pass
    pid = client.pid
    assert pid is not None
    client.close()
    assert client.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_close_without_a_start_and_from_within_a_callback() -> None:
    EngineClient(lambda event: None).close()
    box = Box()

    def on_event(event: events.Event) -> None:
        client.close()
        box(event)

    client = EngineClient(on_event, options=OPTIONS)
    client.start(fake_bundle())
    box.wait(Progressed)
    client.close()


def test_after_close_nothing_keeps_the_volume_or_the_owner_alive() -> None:
    class Owner:
        def on_event(self, event: events.Event) -> None:
            box(event)

    box, owner, volume = Box(), Owner(), small_volume()
    client = EngineClient(owner.on_event, options=OPTIONS)
    client.start(fake_bundle())
    client.put(volume)
    box.end(client.submit("analyse"))
    client.put(small_volume(1))
    client.put(volume)
    client.close()
    survivors = [weakref.ref(owner), weakref.ref(volume)]
    del owner, volume
    gc.collect()
    assert [ref() for ref in survivors] == [None, None]
