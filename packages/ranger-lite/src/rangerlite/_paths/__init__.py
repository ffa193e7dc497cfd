"""The ways to take one step: chosen in `choose`, eager in `eager`, one fused kernel per kind of device."""
