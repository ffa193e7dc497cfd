"""A population shared by the ranks of a process group."""
