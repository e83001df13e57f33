"""Phantoms, losses, loops, evaluation and shipping of bundles; run from a checkout as ``python -m training``."""
