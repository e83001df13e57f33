"""Measurements with their commands: ``python -m benchmarks [NAME …] [--write]``; figures stand in RESULTS.md."""
