"""Records of runs, their file, and the machine they were made on."""
