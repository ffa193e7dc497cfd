"""AEES inside trainers: `pulseopt.integrations.lightning` and `pulseopt.integrations.transformers`, each an extra."""
