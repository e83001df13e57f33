"""What is trained on a finished encoder: probes, calibration, segmentation and report decoders."""
