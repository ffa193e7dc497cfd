"""The dynamics of many cart-poles at once: the equations in torch ops, and a kernel for the CPU."""
