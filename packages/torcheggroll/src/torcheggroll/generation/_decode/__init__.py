"""Generation by the members of a chunk: as rows of one batch, or one member after the other."""
