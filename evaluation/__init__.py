"""Predictions -> scores, files, report, plots."""
