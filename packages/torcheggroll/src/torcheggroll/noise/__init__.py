"""Noise: random numbers as a pure function of integers, the perturbations made of them, and their weighted sum."""
