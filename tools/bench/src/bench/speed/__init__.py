"""Step time, memory and percent of pure inference, as ratios measured within one process."""
