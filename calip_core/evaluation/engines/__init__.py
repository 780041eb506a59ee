"""Where the cells of a sweep run: a pool of processes on this machine, or a Ray cluster."""
