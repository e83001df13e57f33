"""Similar-case libraries: one SQLite file each, exact search."""
