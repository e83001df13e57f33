"""The 18 findings of CT-RATE, painted into a phantom."""

from training.phantom.findings.base import BIT, Finding, Scene, Truth, View
from training.phantom.findings.plan import CHANCE, Plan, draw_plan, plant

__all__ = ["BIT", "CHANCE", "Finding", "Plan", "Scene", "Truth", "View", "draw_plan", "plant"]
