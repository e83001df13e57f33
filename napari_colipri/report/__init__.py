"""Report drafts and their checks."""
