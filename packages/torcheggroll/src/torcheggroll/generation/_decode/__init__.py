"""How the members of a chunk write: many rows of one batch, or one member after the other."""
