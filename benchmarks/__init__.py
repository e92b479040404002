"""Measurements: each prints what it measured and asserts nothing about time."""
