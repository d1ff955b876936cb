"""Benchmarks: every figure is a ratio of two things measured in one run, or stands beside such a ratio."""
