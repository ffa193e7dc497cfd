"""AEES: bandit control of a learning-rate multiplier and a gradient-noise level around any PyTorch optimizer."""
