"""The benchmark's tasks: one file each, and a table of them."""
