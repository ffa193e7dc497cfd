"""The ways to take a step: one reference, and fast paths proven equal to it."""
