"""Swaps, each a file with its source and license."""
