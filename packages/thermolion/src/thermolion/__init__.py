"""Lion-style sign steps blended with variance-normalised steps and annealed noise, as a PyTorch optimizer."""
