"""``python -m napari_colipri.cli``: the command line without its installed script."""

from __future__ import annotations

from napari_colipri.cli import main

main()
