"""Radiology viewer plugin for napari that runs COLIPRI vision-language models on 3D CT."""

__version__ = "0.1.0"
__all__ = ["RESEARCH_USE_ONLY", "__version__"]

#: Shown wherever a model's output is shown.
RESEARCH_USE_ONLY = "Research use only, not for clinical decisions."
