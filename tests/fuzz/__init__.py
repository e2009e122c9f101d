"""A fuzzer of every parser of user files: see run.py."""
