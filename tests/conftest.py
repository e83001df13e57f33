"""What every test may rely on: isolated user folders, no network, and the real data where it is at hand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Mesa's software GL and triton each bring an LLVM: to load triton once a window has drawn ends the process with a
# segmentation fault. The product keeps networks and windows in two processes; tests of both share one, without triton.
sys.modules["triton"] = None  # type: ignore[assignment]


class NetworkRefused(AssertionError):
    """A test tried to reach another machine."""


@pytest.fixture(autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test its own empty data, cache and config folders."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NAPARI_COLIPRI_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine; local sockets and pipes stay usable."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        remote = self.family in (socket.AF_INET, socket.AF_INET6)
        if remote and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise NetworkRefused(f"a test tried to connect to {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT studies; in CI its absence is a failure (unless it is named "none"), elsewhere a skip."""
    folder = os.environ.get("NAPARI_COLIPRI_DATA", "")
    if folder == "none":
        pytest.skip("NAPARI_COLIPRI_DATA is none: no real CT data on this machine")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = (
        f"NAPARI_COLIPRI_DATA names no folder: {folder}" if folder else "NAPARI_COLIPRI_DATA (real CT data) is not set"
    )
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def unchanged_working_folder() -> Iterator[None]:
    """Go back where the test started, whatever it did."""
    here = Path.cwd()
    yield
    os.chdir(here)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process when several share the work, and all windows in one: they share a screen."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        room = item.path.relative_to(config.rootpath).as_posix()
        group = "desktop" if room.startswith("tests/desktop/") else room
        item.add_marker(pytest.mark.xdist_group(group))
