"""AEES in trainers: `pulseopt.integrations.lightning` and `pulseopt.integrations.transformers`, each an extra."""
