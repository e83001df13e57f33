"""From public data sets and plain folders to batches: manifest, converters, preprocessing once, crops, mixing."""
