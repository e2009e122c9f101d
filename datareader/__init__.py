"""Readers by model name."""

from datareader.kinetics_reader import KineticsReader

READERS = {"TSN": KineticsReader}
