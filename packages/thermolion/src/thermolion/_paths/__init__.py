"""The paths of a step: one reference, and fast paths that tests hold equal to it."""
