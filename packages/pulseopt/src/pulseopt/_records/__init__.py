"""What is kept of a run: the log for people, the checkpoint for the next process."""
