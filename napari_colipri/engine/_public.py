"""Modules of the public ``colipri`` package, loaded without its front.

``import colipri`` pulls in torchio, hydra and omegaconf (7 s, 1 GB), none of which inference needs. The pooling module
is loaded from the installed file under a private name; its annotation-only import of ``colipri.types`` is answered with
plain aliases. Nothing is put into ``sys.modules`` under the public name, so ``import colipri`` elsewhere still works.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from napari_colipri.errors import BundleError

__all__ = ["pooling_module"]

_PREFIX = "napari_colipri.engine._public_colipri"


class _Aliases(ModuleType):
    """Answers every ``Type…`` name with ``Any``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("Type"):
            return Any
        raise AttributeError(name)


def _folder() -> Path:
    try:
        distribution = importlib.metadata.distribution("colipri")
    except importlib.metadata.PackageNotFoundError as error:
        raise BundleError(
            "The package colipri is not installed: pip install colipri", code="missing_package"
        ) from error
    return Path(str(distribution.locate_file("colipri")))


@cache
def pooling_module() -> ModuleType:
    """Return the public ``colipri.pooling`` module (class ``AttentionPool1D``).

    Raises
    ------
    BundleError
        If ``colipri`` is not installed.
    """
    package = ModuleType(_PREFIX)
    package.__path__ = []
    sys.modules[_PREFIX] = package
    sys.modules[f"{_PREFIX}.types"] = _Aliases(f"{_PREFIX}.types")
    name = f"{_PREFIX}.pooling"
    spec = importlib.util.spec_from_file_location(name, _folder() / "pooling.py")
    if spec is None or spec.loader is None:
        raise BundleError("The installed colipri package has no pooling module.", code="missing_package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
