"""A campaign of hostile clients against serve.py: see run.py."""
