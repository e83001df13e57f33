"""Views of the dock: each shows values and emits signals, none knows the others."""
