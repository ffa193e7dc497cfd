"""The paths of a step: the choice in `choose`, torch operations in `eager`, one fused kernel per device type."""
