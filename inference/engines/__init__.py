"""What computes a model's answers: one file per engine, all with the interface of engine.py."""
