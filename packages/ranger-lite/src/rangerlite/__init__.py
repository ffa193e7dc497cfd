"""RAdam and Lookahead in one PyTorch optimizer, with slow weights you can evaluate."""
