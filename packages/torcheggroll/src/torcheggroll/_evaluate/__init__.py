"""Evaluation of members: one task, three engines, one result."""
