"""Masks, analyses and pictures on disk."""
