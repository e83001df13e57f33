"""One module per file format; each imports its file library inside the function that needs it."""
