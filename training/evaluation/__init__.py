"""Protocols, metrics, tables and plots. Everything takes arrays or files of scores: where they come from is open."""
