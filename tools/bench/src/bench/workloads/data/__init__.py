"""Real data from installed packages: one file per source, every data file with its checksum."""
