"""The methods compared: ours and the published ones, each from its own package, each with a declared search space."""
