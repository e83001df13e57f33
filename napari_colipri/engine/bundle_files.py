"""Files of a bundle: what may lie in its folder, how it is read and how it is verified. No torch, nothing executed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_colipri.atomic import write_json
from napari_colipri.engine.config import BundleConfig
from napari_colipri.errors import BundleError
from napari_colipri.progress import CancelToken, Progress

__all__ = [
    "CONFIG",
    "bundle_hash",
    "copy_files",
    "file_sha256",
    "parse_config",
    "read_config",
    "safe_file",
    "verify_files",
]

CONFIG = "config.json"
_UNLISTED = {CONFIG, "README.md"}
_MIB = 1 << 20
#: Largest size per kind of file, bytes; any other kind is refused.
_CAPS = {".json": 64 * _MIB, ".txt": 16 * _MIB, ".md": 4 * _MIB, ".safetensors": 8192 * _MIB, "": 4 * _MIB}
_MAX_FILES = 64
_CONFIG_CAP = 4 * _MIB
#: What decides results; the rest of config.json (title, licence, what was verified …) may change without a new hash.
_HASHED = ("input", "vision", "text", "findings", "unresolved", "adapters", "demonstration", "sha256")


def safe_file(folder: Path, name: str, *, blobs: bool = False) -> Path:
    """Return ``folder / name`` if it is a plain file of bounded size that lies in the folder.

    Parameters
    ----------
    folder, name
        Where and what; a name with a separator is refused.
    blobs
        Also follow a link into the ``blobs`` folder of the same Hugging Face cache repository
        (``snapshots/<commit>/name -> ../../blobs/<id>``).

    Raises
    ------
    BundleError
        Naming the file.
    """
    path = folder / name
    if name != Path(name).name or name in {"", ".", ".."}:
        raise BundleError(f"The bundle names a file outside its folder: {name!r}.", code="unsafe_file")
    cap = _CAPS.get(path.suffix)
    if cap is None or (path.suffix == "" and name != "LICENSE"):
        raise BundleError(f"{name} is of a kind that bundles must not hold (safetensors only).", code="unsafe_file")
    try:
        resolved = path.resolve(strict=True)
        info = resolved.stat()
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{name} is missing from the bundle.", code="missing_file") from error
    homes = {folder.resolve()} | ({folder.resolve().parent.parent / "blobs"} if blobs else set())
    if resolved.parent not in homes or not stat.S_ISREG(info.st_mode):
        raise BundleError(f"{name} is a link that leaves the bundle's folder.", code="unsafe_file")
    if info.st_size > cap:
        raise BundleError(f"{name} is larger than {cap // _MIB} MiB.", code="unsafe_file")
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def copy_files(
    source: Path,
    target: Path,
    config: BundleConfig,
    extra: Sequence[str],
    *,
    blobs: bool,
    progress: Progress,
    cancel: CancelToken,
) -> None:
    """Copy what a configuration lists, and a README, into an empty folder; write ``config.json``; verify all of it.

    Parameters
    ----------
    source, target
        Where from and to.
    config
        Of the copy.
    extra
        Further files of ``source`` to take where the configuration lists them.
    blobs
        As in :func:`safe_file`.
    progress, cancel
        Told and asked every 4 MiB.

    Raises
    ------
    Cancelled
        If ``cancel`` was set; ``target`` is then incomplete.
    BundleError
        Naming a file that is missing or not as listed.
    """
    names = dict.fromkeys([*config.sha256, *(name for name in extra if name in config.sha256 or name == "README.md")])
    files = {name: safe_file(source, name, blobs=blobs) for name in names}
    whole, done = max(1, sum(file.stat().st_size for file in files.values())), 0
    for name, file in files.items():
        with file.open("rb") as taken, (target / name).open("wb") as written:
            while piece := taken.read(4 * _MIB):
                cancel.check()
                written.write(piece)
                done += len(piece)
                progress(0.9 * done / whole, "Copying the model")
    progress(0.9, "Verifying the copy")
    write_json(target / CONFIG, config.model_dump(mode="json"))
    verify_files(target, config)


def bundle_hash(config: BundleConfig) -> str:
    """Return the hash of a configuration, and through its table of every file."""
    values = config.model_dump(mode="json", include=set(_HASHED))
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any] | None:
    """Return ``config.json`` as plain values, or None where there is none or it is not one of ours.

    Raises
    ------
    BundleError
        If the file is there but is not JSON.
    """
    if not os.path.lexists(folder / CONFIG):
        return None
    path = safe_file(folder, CONFIG, blobs=True)
    if path.stat().st_size > _CONFIG_CAP:
        raise BundleError(f"config.json is larger than {_CONFIG_CAP // _MIB} MiB.", code="bad_config")
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError("config.json of the bundle is not JSON: it is damaged.", code="bad_config") from error
    if not isinstance(values, dict) or "format" not in values:
        return None
    return values


def parse_config(values: Mapping[str, Any]) -> BundleConfig:
    """Check ``config.json`` against its model.

    Raises
    ------
    BundleError
        In one sentence: where the first mistake is and what it is.
    """
    if values.get("format") != 1:
        raise BundleError(
            f"The bundle is of format {values.get('format')!r}; this version reads format 1.", code="bad_config"
        )
    try:
        return BundleConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise BundleError(
            f"config.json of the bundle is wrong at {where}: {first['msg']}.", code="bad_config"
        ) from error


def verify_files(folder: Path, config: BundleConfig) -> None:
    """Compare every file of ``folder`` with the table of ``config``.

    Raises
    ------
    BundleError
        Naming the first file that changed, is missing, is not listed or must not be there.
    """
    present = sorted(entry.name for entry in os.scandir(folder))
    if len(present) > _MAX_FILES:
        raise BundleError(f"The bundle holds more than {_MAX_FILES} files.", code="unexpected_file")
    needed = {"model.safetensors", *config.adapters.files}
    for name in sorted(needed - set(config.sha256)):
        raise BundleError(f"{name} is not in the bundle's table of checksums.", code="missing_file")
    for name in present:
        if name not in config.sha256 and name not in _UNLISTED:
            raise BundleError(f"{name} is not part of the bundle: it is not in config.json.", code="unexpected_file")
    for name, expected in sorted(config.sha256.items()):
        if file_sha256(safe_file(folder, name)) != expected.lower():
            raise BundleError(f"{name} has changed: its checksum is not the one in config.json.", code="changed_file")
    if not {"vocab.txt", "tokenizer.json"} & set(config.sha256):
        raise BundleError("The bundle has neither vocab.txt nor tokenizer.json.", code="missing_vocab")
