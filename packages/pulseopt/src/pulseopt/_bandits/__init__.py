"""Controllers, which choose the arm of the next episode."""
