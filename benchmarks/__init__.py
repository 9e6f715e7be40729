"""Benchmarks, each runnable alone, against peers in their own environments."""
