"""Benchmarks: ratios and rates that are measured in one run (``make bench``)."""
