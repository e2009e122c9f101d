"""Processes of one run: their device and ranks, what they tell each other, and the signals that stop them."""
