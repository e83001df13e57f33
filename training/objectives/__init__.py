"""Objectives: each a small module of the same shape, ``forward(model, batch) -> {"…_loss": scalar, …}``."""
