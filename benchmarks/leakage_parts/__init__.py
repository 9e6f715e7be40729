"""The data and the peers of `benchmarks/leakage.py`."""
