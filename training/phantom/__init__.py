"""Procedural chest CT with truth: anatomy, the 18 findings, scanner and report, deterministic by seed."""

from training.phantom.classes import CLASSES, SHORT_CLASSES, merge_labels
from training.phantom.findings import Finding
from training.phantom.generate import Phantom, make_phantom

__all__ = ["CLASSES", "SHORT_CLASSES", "Finding", "Phantom", "make_phantom", "merge_labels"]
