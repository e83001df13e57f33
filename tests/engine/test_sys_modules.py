"""The window's process stays light, and the engine's process comes and goes with it, however it was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: No guard around it on purpose: a spawned process must not run the parent's main module again.
SCRIPT = """
import json, os, queue, signal, sys
import numpy as np
from napari_colipri.engine.client import EngineClient
from napari_colipri.engine.events import Done, Failed
from tests.engine.engine_events import OPTIONS, small_volume
from tests.fake_session import fake_bundle

print("main module runs", flush=True)
events = queue.SimpleQueue()
client = EngineClient(events.put, options=OPTIONS)
client.start(fake_bundle({mode!r}))
client.put(small_volume())
request = client.submit("analyse")
while True:
    event = events.get(timeout=60)
    if getattr(event, "request", None) == request and (isinstance(event, (Done, Failed)) or
                                                       getattr(event, "text", "") == "Deaf"):
        break
block = client._conversation._lending._volume[1].name
heavy = ["torch", "monai", "transformers", "colipri", "torchio", "hydra", "napari", "qtpy", "safetensors"]
print(json.dumps({{"last": type(event).__name__, "block": block, "pid": client.pid,
                  "heavy": [name for name in heavy if name in sys.modules]}}), flush=True)
{end}
"""


def run(folder: Path, mode: str, end: str, *, as_module: bool = False) -> tuple[int, dict[str, object], str]:
    """Run the script to the end of every process that it started: they all hold its output open."""
    (folder / "unguarded.py").write_text(SCRIPT.format(mode=mode, end=end))
    command = ["-m", "unguarded"] if as_module else [str(folder / "unguarded.py")]
    code = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = code.stdout.splitlines()
    assert lines.count("main module runs") == 1, code.stderr
    told: dict[str, object] = json.loads(lines[-1])
    return code.returncode, told, code.stderr


def gone(block: object) -> bool:
    try:
        SharedMemory(name=str(block)).close()
    except FileNotFoundError:
        return True
    return False


@pytest.mark.parametrize("as_module", [False, True], ids=["script", "python -m"])
def test_the_client_imports_nothing_heavy_and_an_exit_without_close_is_clean(tmp_path: Path, as_module: bool) -> None:
    status, told, errors = run(tmp_path, "well", "", as_module=as_module)
    assert told["last"] == "Done"
    assert told["heavy"] == []
    assert (status, errors) == (0, "")
    assert gone(told["block"])


def test_an_exit_while_busy_is_clean_too(tmp_path: Path) -> None:
    status, told, errors = run(tmp_path, "deaf", "")
    assert told["last"] == "Progressed"
    assert (status, errors) == (0, "")
    assert gone(told["block"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes shared memory with its last user")
def test_when_the_window_is_killed_the_engine_leaves_and_no_block_stays(tmp_path: Path) -> None:
    status, told, _ = run(tmp_path, "deaf", "os.kill(os.getpid(), signal.SIGKILL)")
    assert status == -9
    assert gone(told["block"])
