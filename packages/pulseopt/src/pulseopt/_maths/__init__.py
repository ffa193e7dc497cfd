"""Equations, one file an idea: numbers in, numbers out."""
