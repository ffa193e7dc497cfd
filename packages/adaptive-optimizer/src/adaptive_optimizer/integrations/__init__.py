"""Trainers that feed losses and rewards for you; each module needs its trainer installed."""
