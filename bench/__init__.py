"""Benchmarks: each measures ours and a bare peer side by side in one run and prints their ratio."""
