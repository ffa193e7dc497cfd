"""Executors: processes of this machine, or Ray. The records are the same."""
