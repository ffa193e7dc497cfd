"""One optimizer step under a candidate: rates, noise, hooks, and the norm of the update."""
