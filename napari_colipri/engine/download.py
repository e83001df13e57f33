"""Weights from the Hugging Face hub: resolved, shown, fetched, checked, pinned. Only when the user asks. No torch."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from napari_colipri.atomic import write_json
from napari_colipri.engine.bundle import Bundle, bundles_dir, open_bundle
from napari_colipri.engine.bundle_files import CONFIG, file_sha256, parse_config, read_config, verify_files
from napari_colipri.engine.bundle_store import install
from napari_colipri.engine.official import official_config
from napari_colipri.errors import BundleError, Cancelled, ColipriError, OutOfResources
from napari_colipri.paths import private_dir
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["DownloadPlan", "RemoteFile", "download_bundle", "plan_download"]

#: Files of a repository that a bundle can use; everything else is left where it is.
_USEFUL = (
    "model.safetensors",
    "segmentation.safetensors",
    "report.safetensors",
    "probes.safetensors",
    "calibration.json",
    "vocab.txt",
    "tokenizer.json",
    "config.json",
    "README.md",
)
#: Where the public package 0.1.3 takes its tokenizer from (configs/processor/tokenizer/default.yaml).
_VOCAB_REPO = "microsoft/BiomedVLP-CXR-BERT-specialized"
_VOCAB_REVISION = "5157bdba1437a3aed316dacb1a5b68edf96b9902"
_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit.

    Attributes
    ----------
    name, repo, commit, url
        What and where.
    size
        Bytes.
    sha256, git_sha1
        Checksums as the hub states them: SHA-256 for large files, the git blob's SHA-1 for small ones.
    """

    name: str
    repo: str
    commit: str
    url: str
    size: int
    sha256: str | None
    git_sha1: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the record that is pinned in ``config.json``."""
        return dict(vars(self))


@dataclass(frozen=True)
class DownloadPlan:
    """What a download will fetch, to be shown before it starts.

    Attributes
    ----------
    repo, commit, licence
        Of the weights.
    files
        In the order in which they are fetched.
    """

    repo: str
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def describe(self) -> str:
        """Return plain text: commit, licence, size and checksum of each file."""
        lines = [f"{self.repo} at commit {self.commit}, licence: {self.licence}, {self.size / 1e6:.1f} MB"]
        for file in self.files:
            mark = f"sha256 {file.sha256}" if file.sha256 else f"git {file.git_sha1}"
            lines.append(f"  {file.name}  {file.size / 1e6:.1f} MB  {mark}  ({file.repo})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the record that is pinned in ``config.json``."""
        return {
            "repo": self.repo,
            "commit": self.commit,
            "licence": self.licence,
            "files": [file.to_json() for file in self.files],
        }


def _listing(repo: str, revision: str | None) -> tuple[str, str, dict[str, RemoteFile]]:
    from huggingface_hub import HfApi, hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=revision, files_metadata=True, token=False, timeout=30
        )
    except Exception as error:  # the client's errors come from whichever HTTP library its version uses
        raise BundleError(f"{repo} cannot be looked up: {_first_line(error)}", code="download_failed") from error
    if not info.sha:
        raise BundleError(f"The hub names no commit for {repo}: nothing can be pinned.", code="download_failed")
    files = {}
    for item in info.siblings or []:
        sha256 = item.lfs.sha256 if item.lfs is not None else None
        if item.rfilename in _USEFUL and item.size is not None and (sha256 or item.blob_id):
            url = hf_hub_url(repo, item.rfilename, revision=info.sha, endpoint=endpoint)
            files[item.rfilename] = RemoteFile(
                item.rfilename, repo, info.sha, url, item.size, sha256, None if sha256 else item.blob_id
            )
    tags = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
    card = getattr(info.card_data, "license", None) if info.card_data is not None else None
    return info.sha, str(card or (tags[0] if tags else "not stated")), files


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def plan_download(repo: str, *, revision: str | None = None) -> DownloadPlan:
    """Ask the hub what there is: commit, size, licence and checksums. Nothing is fetched.

    Parameters
    ----------
    repo
        Such as ``"microsoft/colipri"``.
    revision
        Branch, tag or commit; None means the repository's newest state, which is then pinned.

    Raises
    ------
    BundleError
        If the hub cannot be reached or holds no usable weights.
    """
    commit, licence, files = _listing(repo, revision)
    if "model.safetensors" not in files:
        raise BundleError(f"{repo} holds no model.safetensors with a known checksum.", code="download_failed")
    chosen = [files[name] for name in _USEFUL if name in files]
    if "vocab.txt" not in files and "tokenizer.json" not in files:
        vocab = _listing(_VOCAB_REPO, _VOCAB_REVISION)[2].get("vocab.txt")
        if vocab is None:
            raise BundleError(f"{_VOCAB_REPO} holds no vocab.txt at {_VOCAB_REVISION[:7]}.", code="missing_vocab")
        chosen.insert(0, vocab)
    chosen.sort(key=lambda file: file.size)  # a mistake in a small file shows before the large one is fetched
    return DownloadPlan(repo, commit, licence, tuple(chosen))


def _matches(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return file_sha256(path) == file.sha256
    blob = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    blob.update(path.read_bytes())
    return blob.hexdigest() == file.git_sha1


def _fetch(file: RemoteFile, target: Path, advance: Callable[[int], None], cancel: CancelToken) -> None:
    """Bring one file to ``target``, going on where an earlier try stopped."""
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    if have < file.size:
        asked = {"Range": f"bytes={have}-", "Accept-Encoding": "identity", "User-Agent": "napari-colipri"}
        with urlopen(Request(file.url, headers=asked), timeout=_TIMEOUT_S) as response, part.open("ab") as out:
            if response.status != 206:
                out.truncate(0)  # a server without ranges sends everything again
                have = 0
            advance(have)
            _copy(response, out, advance, cancel)
    if part.stat().st_size < file.size:
        raise BundleError(
            f"The download of {file.name} stopped at {part.stat().st_size / 1e6:.1f} of {file.size / 1e6:.1f} MB: "
            "ask again to go on from there.",
            code="download_interrupted",
        )
    if not _matches(part, file):
        part.unlink()
        raise BundleError(
            f"{file.name} does not have the checksum that the hub states: it was thrown away.", code="changed_file"
        )
    os.replace(part, target)


def _copy(response: IO[bytes], out: IO[bytes], advance: Callable[[int], None], cancel: CancelToken) -> None:
    while chunk := response.read(_CHUNK):
        cancel.check()
        out.write(chunk)
        advance(len(chunk))


def _fetch_all(plan: DownloadPlan, staging: Path, progress: Progress, cancel: CancelToken) -> None:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(min(1.0, done / max(1, plan.size)), f"Downloading {plan.repo}")

    for file in plan.files:
        cancel.check()
        target = staging / file.name
        if target.exists() and _matches(target, file):
            advance(file.size)
        else:
            _fetch(file, target, advance, cancel)


def _configure(
    staging: Path, plan: DownloadPlan, name: str | None, choices: dict[str, str | None]
) -> tuple[str, dict[str, Any]]:
    """Return the bundle's name and the configuration to write."""
    values = read_config(staging)
    if values is None:
        config = official_config(staging, name=name or plan.repo.split("/")[-1], source=plan.to_json(), **choices)
        return config.name, config.model_dump(mode="json")
    if any(choices.values()):
        raise BundleError("This bundle states its own settings: they cannot be changed.", code="settings_fixed")
    verify_files(staging, parse_config(values))
    config = parse_config({**values, "source": plan.to_json(), "name": name or values["name"]})
    return config.name, config.model_dump(mode="json")


def download_bundle(
    repo: str,
    *,
    confirm: Callable[[DownloadPlan], bool],
    name: str | None = None,
    revision: str | None = None,
    axis_order: str | None = None,
    pooling: str | None = None,
    preset: str | None = None,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> Bundle:
    """Fetch weights from the hub and add them as a bundle, pinned to the commit that was shown.

    An interrupted download stays in the user's data folder under a hidden name and is continued by the next call; it
    becomes a bundle only once every file has the size and checksum that the hub states.

    Parameters
    ----------
    repo, revision
        What; see :func:`plan_download`.
    confirm
        Is shown the plan; nothing is fetched unless it answers True.
    name
        Under which the bundle is added; by default the repository's.
    axis_order, pooling, preset
        As in :func:`~napari_colipri.engine.bundle.add_bundle`.
    progress, cancel
        Called and checked every MiB.

    Raises
    ------
    BundleError
        ``download_failed``, ``download_interrupted``, ``changed_file`` …
    Cancelled
        If ``confirm`` said no or ``cancel`` was set; what was fetched is kept for the next try.
    OutOfResources
        If the disk is too small.
    """
    taken = bundles_dir() / (name or repo.rsplit("/", maxsplit=1)[-1])
    if taken.exists():  # said before a gigabyte is fetched, not after
        raise BundleError(f"There is already a bundle {taken.name!r}: remove it first.", code="exists")
    plan = plan_download(repo, revision=revision)
    if not confirm(plan):
        raise Cancelled("Nothing was downloaded.")
    staging = private_dir(private_dir(bundles_dir()) / f".{repo.replace('/', '--')}.{plan.commit[:12]}.download")
    if shutil.disk_usage(staging).free < plan.size + (64 << 20):
        raise OutOfResources(f"The download needs {plan.size / 1e6:.0f} MB of free disk space.", code="disk_full")
    try:
        _fetch_all(plan, staging, progress, cancel or CancelToken())
        chosen, config = _configure(
            staging, plan, name, {"axis_order": axis_order, "pooling": pooling, "preset": preset}
        )
        with install(chosen, staging=staging) as folder:
            _tidy(folder, config)
            write_json(folder / CONFIG, config)
    except ColipriError:
        raise
    except (URLError, OSError) as error:
        raise BundleError(
            f"The download stopped: {_first_line(error)}; ask again to go on.", code="download_failed"
        ) from error
    return open_bundle(bundles_dir() / chosen)


def _tidy(folder: Path, config: dict[str, Any]) -> None:
    """Remove what the configuration does not list, such as a foreign tokenizer beside a vocabulary."""
    for entry in folder.iterdir():
        if entry.name not in {*config["sha256"], CONFIG, "README.md"}:
            entry.unlink()
