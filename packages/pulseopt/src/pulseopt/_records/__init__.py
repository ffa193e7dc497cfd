"""Records of a run: logs for people, checkpoints for the next process."""
