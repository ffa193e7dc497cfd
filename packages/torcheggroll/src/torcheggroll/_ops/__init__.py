"""The op library: each op once, for any number of members."""
