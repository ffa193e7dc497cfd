"""Equations as pure functions of numbers, one file for each idea."""
