"""Procedural chest CT with truth: anatomy, findings, scanner and report, deterministic by seed."""

from training.embedded.phantom.generate import Phantom, make_phantom
from training.embedded.phantom.grid import Grid

__all__ = ["Grid", "Phantom", "make_phantom"]
