"""One optimizer step under a candidate: rates, noise, hooks, the length of the step."""
