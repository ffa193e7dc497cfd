"""The Triton kernel: equations (1) to (12) of `_lookahead.py` and `_radam.py` on one block of one tensor.

It writes in place and is never tuned, because tuning would run it several times on live parameters.
"""

# Triton has no types, its constants are upper case, and it wants the two ifs apart.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false, reportInvalidTypeForm=false, reportArgumentType=false
# ruff: noqa: N803, SIM102

import triton
import triton.language as tl

# What the table holds for each tensor, in words of 64 bits.
LENGTH, PROGRAMS, THETA, GRAD, M, V, STEP, PHI, MU, ROW = map(tl.constexpr, range(10))


@triton.jit
def _typed(address, DTYPE: tl.constexpr, VECTOR: tl.constexpr):
    if DTYPE == "fp64":
        typed = address.to(tl.pointer_type(tl.float64))
    elif DTYPE == "bf16":
        typed = address.to(tl.pointer_type(tl.bfloat16))
    elif DTYPE == "fp16":
        typed = address.to(tl.pointer_type(tl.float16))
    else:
        typed = address.to(tl.pointer_type(tl.float32))
    if VECTOR > 1:
        typed = tl.multiple_of(typed, 16)
    return typed


@triton.jit
def _number(bits):
    """Returns the float64 whose bits came as an integer: a float argument would be rounded to float32."""
    return bits.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def _between(start, end, weight):
    return tl.where(weight < 0.5, start + weight * (end - start), end - (end - start) * (1.0 - weight))


@triton.jit
def step_kernel(
    table, blocks, arrived, eta_at, scale_at, found_at,
    k: tl.int64, eta: tl.int64, beta1: tl.int64, beta2: tl.int64, epsilon: tl.int64, weight_decay: tl.int64,
    alpha: tl.int64, log_beta1: tl.int64, log_beta2: tl.int64,
    BLOCK: tl.constexpr, VECTOR: tl.constexpr, MOMENTUM: tl.constexpr, MAXIMIZE: tl.constexpr,
    DECOUPLED: tl.constexpr, DTYPE: tl.constexpr, STEP_DTYPE: tl.constexpr,
):  # fmt: skip
    """Steps one block of one tensor; the last of a tensor's programs to arrive writes the step count."""
    program = tl.program_id(0)
    if found_at is not None:
        if tl.load(found_at) != 0:
            return
    tensor = tl.load(blocks + 2 * program)
    row = table + tensor * ROW
    index = tl.load(blocks + 2 * program + 1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    length = tl.load(row + LENGTH)
    if VECTOR > 1:
        length = tl.multiple_of(length, VECTOR)
    inside = index < length
    theta_at = _typed(tl.load(row + THETA), DTYPE, VECTOR) + index
    m_at = _typed(tl.load(row + M), DTYPE, VECTOR) + index
    v_at = _typed(tl.load(row + V), DTYPE, VECTOR) + index
    step_at = _typed(tl.load(row + STEP), STEP_DTYPE, 1)
    t = tl.load(step_at).to(tl.float64) + 1.0
    eta = _number(eta)
    if eta_at is not None:
        eta = tl.load(eta_at).to(tl.float64)
    beta1 = _number(beta1)
    beta2 = _number(beta2)
    weight_decay = _number(weight_decay)

    decay2 = tl.exp(t * _number(log_beta2))
    bias2 = 1.0 - decay2
    rho_inf = 2.0 / (1.0 - beta2) - 1.0  # (7)
    rho = rho_inf - 2.0 * t * decay2 / bias2  # (8)
    rectified = rho > 5.0
    safe = tl.where(rectified, rho, 6.0)
    squared = (safe - 4.0) * (safe - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * safe)  # (9)
    move = eta / (1.0 - tl.exp(t * _number(log_beta1)))
    scaled = move * tl.sqrt(tl.where(rectified, squared * bias2, 1.0))

    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    theta = tl.load(theta_at, mask=inside, other=0.0).to(real)
    g = tl.load(_typed(tl.load(row + GRAD), DTYPE, VECTOR) + index, mask=inside, other=0.0).to(real)
    m = tl.load(m_at, mask=inside, other=0.0).to(real)
    v = tl.load(v_at, mask=inside, other=0.0).to(real)
    if scale_at is not None:
        g = g / tl.load(scale_at).to(real)
    if MAXIMIZE:
        g = -g
    if DECOUPLED:
        theta = theta * (1.0 - eta * weight_decay).to(real)  # (4)
    else:
        g = tl.where(weight_decay != 0.0, g + weight_decay.to(real) * theta, g)
    m = beta1.to(real) * m + (1.0 - beta1).to(real) * g  # (5)
    v = beta2.to(real) * v + (1.0 - beta2).to(real) * (g * g)  # (6)
    below = tl.where(rectified, tl.sqrt(v) + _number(epsilon).to(real), 1.0)
    theta = theta - scaled.to(real) * m / below  # (10), (11), (12)

    if t.to(tl.int64) % k == 0:
        weight = _number(alpha).to(real)
        phi_at = _typed(tl.load(row + PHI), DTYPE, VECTOR) + index
        theta = _between(tl.load(phi_at, mask=inside, other=0.0).to(real), theta, weight)  # (1)
        tl.store(phi_at, theta, mask=inside)
        if MOMENTUM == 1:
            m = tl.zeros_like(m)
        if MOMENTUM == 2:
            mu_at = _typed(tl.load(row + MU), DTYPE, VECTOR) + index
            m = _between(tl.load(mu_at, mask=inside, other=0.0).to(real), m, weight)  # (3)
            tl.store(mu_at, m, mask=inside)

    tl.debug_barrier()  # every thread of this program has read t
    last = tl.atomic_add(arrived + tensor, 1) == tl.load(row + PROGRAMS) - 1
    tl.store(theta_at, theta, mask=inside)  # (2)
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)
    if last:  # so has every other program
        tl.store(step_at, t)
        tl.store(arrived + tensor, 0)
