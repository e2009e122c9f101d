"""Weights -> predictions: engines, sessions, long videos, exports, drawings."""
