"""The cart and the pole, many at once: the equations in torch ops, and a kernel for the CPU."""
