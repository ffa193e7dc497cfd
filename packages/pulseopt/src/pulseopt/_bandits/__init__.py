"""Controllers: who chooses the arm of the next episode."""
