"""Where runs happen: in processes of this machine, or on Ray. The records are the same."""
