"""The Triton kernel: equations (1) to (12) of `_lookahead.py` and `_radam.py` on one block of one tensor.

It works in place and is never tuned automatically: a tuner would run it several times on live parameters.
"""

# Triton has no types, its constants are upper case, and it wants the two ifs apart.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false
# ruff: noqa: N803, SIM102

import triton
import triton.language as tl


@triton.jit
def _typed(address, DTYPE: tl.constexpr):
    if DTYPE == "fp64":
        typed = address.to(tl.pointer_type(tl.float64))
    elif DTYPE == "bf16":
        typed = address.to(tl.pointer_type(tl.bfloat16))
    elif DTYPE == "fp16":
        typed = address.to(tl.pointer_type(tl.float16))
    else:
        typed = address.to(tl.pointer_type(tl.float32))
    return typed


@triton.jit
def _between(start, end, weight):
    return tl.where(weight < 0.5, start + weight * (end - start), end - (end - start) * (1.0 - weight))


@triton.jit
def step_kernel(
    table, numbers, blocks, eta_at, scale_at, found_at, k,
    NUMBERS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, MOMENTUM: tl.constexpr,
    MAXIMIZE: tl.constexpr, DECOUPLED: tl.constexpr, DTYPE: tl.constexpr, STEP_DTYPE: tl.constexpr,
):  # fmt: skip
    """Advance one block; ``table`` holds the numbers, then for each row its length and its addresses."""
    program = tl.program_id(0)
    if found_at is not None:
        if tl.load(found_at) != 0:
            return
    row = table + NUMBERS + tl.load(blocks + 2 * program) * (1 + COLUMNS)
    index = tl.load(blocks + 2 * program + 1) + tl.arange(0, BLOCK)
    inside = index < tl.load(row)
    theta_at = _typed(tl.load(row + 1), DTYPE) + index
    m_at = _typed(tl.load(row + 3), DTYPE) + index
    v_at = _typed(tl.load(row + 4), DTYPE) + index
    t = tl.load(_typed(tl.load(row + 5), STEP_DTYPE)).to(tl.float64)
    eta = tl.load(numbers)
    if eta_at is not None:
        eta = tl.load(eta_at).to(tl.float64)
    beta1 = tl.load(numbers + 1)
    beta2 = tl.load(numbers + 2)
    weight_decay = tl.load(numbers + 4)

    decay2 = tl.exp(t * tl.load(numbers + 7))
    bias2 = 1.0 - decay2
    rho_inf = 2.0 / (1.0 - beta2) - 1.0  # (7)
    rho = rho_inf - 2.0 * t * decay2 / bias2  # (8)
    rectified = rho > 5.0
    safe = tl.where(rectified, rho, 6.0)
    squared = (safe - 4.0) * (safe - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * safe)  # (9)
    move = eta / (1.0 - tl.exp(t * tl.load(numbers + 6)))
    scaled = move * tl.sqrt(tl.where(rectified, squared * bias2, 1.0))

    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    theta = tl.load(theta_at, mask=inside, other=0.0).to(real)
    g = tl.load(_typed(tl.load(row + 2), DTYPE) + index, mask=inside, other=0.0).to(real)
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
    below = tl.where(rectified, tl.sqrt(v) + tl.load(numbers + 3).to(real), 1.0)
    theta = theta - scaled.to(real) * m / below  # (10), (11), (12)

    if t.to(tl.int64) % k == 0:
        alpha = tl.load(numbers + 5).to(real)
        phi_at = _typed(tl.load(row + 6), DTYPE) + index
        theta = _between(tl.load(phi_at, mask=inside, other=0.0).to(real), theta, alpha)  # (1)
        tl.store(phi_at, theta, mask=inside)
        if MOMENTUM == 1:
            m = m * 0.0
        if MOMENTUM == 2:
            mu_at = _typed(tl.load(row + 7), DTYPE) + index
            m = _between(tl.load(mu_at, mask=inside, other=0.0).to(real), m, alpha)  # (3)
            tl.store(mu_at, m, mask=inside)
    tl.store(theta_at, theta, mask=inside)  # (2)
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)
