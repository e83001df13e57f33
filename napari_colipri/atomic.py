"""Files that appear whole or not at all: written beside their final name, flushed, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["replace_file", "to_json_text", "write_bytes", "write_json", "write_text"]


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str], *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` if the block ends without an exception.

    The temporary name ends like ``path`` does (``.nii.gz``, ``.png``), because libraries choose their format by it.

    Parameters
    ----------
    path
        File to write or replace. Its folder must exist.
    private
        Create the file readable by its owner only.

    Yields
    ------
    Path
        An empty file beside ``path``. Removed if the block raises; ``path`` then keeps its old content.
    """
    target = Path(path)
    suffix = "".join(target.suffixes[-2:]) if target.name.endswith(".gz") else target.suffix
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part{suffix}")
    mode = 0o600 if private else 0o666
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt too: nothing half-written stays, then it travels on
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes, *, private: bool = False) -> None:
    """Write ``data`` to ``path`` whole or not at all."""
    with replace_file(path, private=private) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, *, private: bool = False) -> None:
    """Write ``text`` as UTF-8 with Unix line ends to ``path`` whole or not at all."""
    write_bytes(path, text.encode("utf-8"), private=private)


def to_json_text(obj: Any) -> str:
    """Return ``obj`` as indented JSON that every reader accepts (no NaN, no Infinity).

    Raises
    ------
    ValueError
        If a number is not finite: strict readers refuse such a file, so the value must be None instead.
    """
    return json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], obj: Any, *, private: bool = False) -> None:
    """Write ``obj`` as JSON to ``path`` whole or not at all."""
    write_text(path, to_json_text(obj), private=private)
