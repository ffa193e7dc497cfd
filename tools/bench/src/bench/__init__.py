"""Benchmarks: small models trained on real data with all five methods, beside tuned baselines."""
