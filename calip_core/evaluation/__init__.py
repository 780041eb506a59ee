"""Measurements: one evaluation becomes one record; sweeps are products of them."""
