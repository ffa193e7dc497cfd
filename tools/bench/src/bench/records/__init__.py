"""What a run leaves behind, the file it stands in, and the machine it was made on."""
