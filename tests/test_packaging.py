"""Wheel, sdist, wheel from the sdist, editable install: each brings manifest, bundle and samples; npe2 lists it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "napari_colipri"

# What an installed copy finds, asked in a process of its own that starts away from the checkout.
PROBE = """
import json, sys
from importlib.resources import files
from npe2 import PluginManager
import napari_colipri
from napari_colipri.engine.bundle import open_bundle

manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-colipri")
package = files("napari_colipri")
json.dump({
    "file": napari_colipri.__file__,
    "version": manifest.package_version,
    "name": manifest.display_name,
    "commands": [item.id for item in manifest.contributions.commands],
    "samples": sorted(item.name for item in (package / "sample_data").iterdir()),
    "bundle": sorted(item.name for item in (package / "bundles" / "demo").iterdir()),
    "bundle_name": open_bundle().config.name,
    "torch": "torch" in sys.modules,
}, sys.stdout)
"""


def run(*arguments: str | Path, cwd: Path) -> str:
    """Run a program and return its output; show both streams where it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONWARNINGS")}
    done = subprocess.run(
        [str(item) for item in arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments[:4]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, target: str, out: Path) -> Path:
    """Build one distribution with the tools that are installed, without the network."""
    out.mkdir(parents=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out, cwd=source)
    (built,) = out.iterdir()
    return built


@dataclass(frozen=True)
class Distributions:
    """Paths of the three files that a release could be installed from."""

    wheel: Path
    sdist: Path
    wheel_from_sdist: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp("distributions")
    sdist = build(ROOT, "sdist", folder / "sdist")
    with tarfile.open(sdist) as archive:
        # Python 3.11.4 brought the filter and later versions ask for it; Debian 12 has 3.11.2.
        careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "unpacked", **careful)
    (unpacked,) = (folder / "unpacked").iterdir()
    return Distributions(
        wheel=build(ROOT, "wheel", folder / "wheel"),
        sdist=sdist,
        wheel_from_sdist=build(unpacked, "wheel", folder / "wheel-from-sdist"),
    )


def shipped_files() -> set[str]:
    """Every file below the package that a wheel must hold, symbolic links followed."""
    found = set()
    for folder, _, names in os.walk(PACKAGE, followlinks=True):
        if "__pycache__" not in folder:
            found |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in names}
    return found


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def interpreter(folder: Path) -> Path:
    """Make a throw-away environment that sees the libraries of this one, and return its interpreter."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=ROOT)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def installed(folder: Path, *what: str | Path) -> dict[str, Any]:
    """Install ``what`` without its dependencies and return what the probe finds."""
    python = interpreter(folder / "environment")
    options = [
        "--quiet",
        "--ignore-installed",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--disable-pip-version-check",
    ]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd=folder)
    found: dict[str, Any] = json.loads(run(python, "-c", PROBE, cwd=folder))
    return found


def assert_complete(found: dict[str, Any]) -> None:
    assert found["name"] == "COLIPRI"
    assert found["commands"]
    assert {"config.json", "model.safetensors", "README.md"} <= set(found["bundle"])
    assert found["samples"] == sorted(item.name for item in (ROOT / "sample_data").iterdir())
    assert not found["torch"], "opening a bundle must not import torch"


def test_the_manifest_and_the_samples_in_the_package_are_links_to_the_originals() -> None:
    for name in ("napari.yaml", "sample_data"):
        assert (PACKAGE / name).is_symlink()
        assert (PACKAGE / name).resolve() == ROOT / name


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(distributions: Distributions) -> None:
    names = names_in(distributions.wheel)
    assert {"napari_colipri/napari.yaml", "napari_colipri/bundles/demo/config.json"} <= names
    assert any(name.startswith("napari_colipri/sample_data/") for name in names)
    assert {name for name in names if ".dist-info/" not in name} == shipped_files()


def test_a_wheel_built_from_the_sdist_equals_the_wheel_built_from_the_checkout(distributions: Distributions) -> None:
    assert names_in(distributions.wheel_from_sdist) == names_in(distributions.wheel)
    for name in names_in(distributions.wheel):
        if ".dist-info/" not in name:
            first, second = (
                zipfile.ZipFile(path).read(name) for path in (distributions.wheel, distributions.wheel_from_sdist)
            )
            assert first == second, name


def test_the_sdist_can_be_developed_from(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "napari.yaml",
        "tests/conftest.py",
        "training/__init__.py",
    } <= names


def test_the_default_bundle_stays_small_enough_to_ship(distributions: Distributions) -> None:
    files = [item for item in zipfile.ZipFile(distributions.wheel).infolist() if "/bundles/demo/" in item.filename]
    assert max(item.file_size for item in files) <= 15 * 2**20
    assert sum(item.file_size for item in files) <= 30 * 2**20


@pytest.mark.parametrize("kind", ["wheel", "wheel_from_sdist"])
def test_npe2_lists_an_installed_wheel(distributions: Distributions, kind: str, tmp_path: Path) -> None:
    found = installed(tmp_path, getattr(distributions, kind))
    assert Path(found["file"]).is_relative_to(tmp_path)
    assert_complete(found)


def test_npe2_lists_an_editable_install(tmp_path: Path) -> None:
    found = installed(tmp_path, "--editable", ROOT)
    assert Path(found["file"]) == PACKAGE / "__init__.py"
    assert_complete(found)


def test_the_console_script_of_an_installed_wheel_answers(distributions: Distributions, tmp_path: Path) -> None:
    installed(tmp_path, distributions.wheel)
    script = interpreter_folder(tmp_path) / ("napari-colipri.exe" if os.name == "nt" else "napari-colipri")
    assert "analyse" in run(script, "--help", cwd=tmp_path)


def interpreter_folder(folder: Path) -> Path:
    return folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
