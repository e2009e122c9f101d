"""Weights <- data: a training run, its steps, its checkpoints."""
