"""Real modules of every kind, each judged by a step of the public API."""
