"""Measurements of masks on the source grid: volumes and HU. numpy and scipy only."""
