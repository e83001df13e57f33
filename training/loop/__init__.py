"""The training loop: configuration, engine, checkpoints, logs and costs of a run."""
