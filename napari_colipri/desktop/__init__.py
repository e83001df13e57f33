"""The napari side: reader, samples, and the dock. The only room that imports napari and Qt."""
