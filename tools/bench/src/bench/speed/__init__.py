"""Step time, memory and percent of pure inference: ratios taken side by side in one process."""
