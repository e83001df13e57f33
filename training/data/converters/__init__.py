"""One module per data set, all of one shape: ``convert(folder, …) -> Converted``. Nothing is copied or resampled."""
