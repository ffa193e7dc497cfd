"""The Triton kernels: equations (1) to (9) of `_equations.py` and (11) to (14) of `_noise.py` on one group of elements.

They batch in place and are never tuned automatically: a tuner would run them several times on live parameters.
"""

# Triton has no types, and its constants are upper case.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false, reportArgumentType=false
# ruff: noqa: N803

import triton
import triton.language as tl

HALF = tl.constexpr(1024)  # elements that a pair lies apart; one program takes a group of twice as many
HEADER = tl.constexpr(5)  # lr, beta1, beta2, weight_decay, eps
ROW = tl.constexpr(8)  # numel, theta, g, m, v, v_mean, first program, programs
STEP = tl.constexpr(2654435769 - (1 << 32))
FIRST = tl.constexpr(0x21F0AAAD)
SECOND = tl.constexpr(0x846CA68B - (1 << 32))
TO_X = tl.constexpr(0x735A2D97)
TO_Y = tl.constexpr(0xD35A2D97 - (1 << 32))
COSINE = (0.9999999532, -0.4999990506, 0.04166357893, -0.001385366693, 2.315317416e-05)
SINE = (0.9999999957, -0.1666665797, 0.008333050617, -0.0001980904636, 2.605166277e-06)
C0, C1, C2, C3, C4 = map(tl.constexpr, COSINE)
S0, S1, S2, S3, S4 = map(tl.constexpr, SINE)


@triton.jit
def _typed(address, DTYPE: tl.constexpr):
    if DTYPE == "fp64":
        pointer = address.to(tl.pointer_type(tl.float64))
    elif DTYPE == "bf16":
        pointer = address.to(tl.pointer_type(tl.bfloat16))
    elif DTYPE == "fp16":
        pointer = address.to(tl.pointer_type(tl.float16))
    else:
        pointer = address.to(tl.pointer_type(tl.float32))
    return pointer


@triton.jit
def _fold(word, SHIFT: tl.constexpr):
    return word ^ (word >> SHIFT)


@triton.jit
def _mixed(counter, keys):
    z = _fold(counter * STEP + tl.load(keys), 16)
    return _fold(z * FIRST + tl.load(keys + 1), 15)  # (11)


@triton.jit
def _pair(counter, keys):
    """Returns A and B of (14) for these counters."""
    z = _mixed(counter, keys)
    x = z * TO_X  # (11)
    y = _fold(z * TO_Y + tl.load(keys + 2), 16) * SECOND + tl.load(keys + 3)  # (12)
    u = tl.abs(x.to(tl.float32)) * 4.656612873077393e-10 + 2.3283064365386963e-10
    radius = tl.sqrt(tl.log(u) * -2.0)
    radius = tl.where(x < 0, -radius, radius)  # (13)
    phi = y.to(tl.float32) * 7.314590396335798e-10  # π 2⁻³²
    square = phi * phi
    cosine = tl.fma(tl.fma(tl.fma(tl.fma(square, C4, C3), square, C2), square, C1), square, C0)
    sine = tl.fma(tl.fma(tl.fma(tl.fma(square, S4, S3), square, S2), square, S1), square, S0) * phi
    return radius * cosine, radius * sine  # (14)


@triton.jit
def sum_kernel(table, blocks, partials, DTYPE: tl.constexpr):
    """Writes Σ g² over one group of elements, without those whose square is not finite."""
    program = tl.program_id(0)
    row = table + HEADER + tl.load(blocks + 2 * program) * ROW
    index = tl.load(blocks + 2 * program + 1) + tl.arange(0, 2 * HALF)
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    g = tl.load(_typed(tl.load(row + 2), DTYPE) + index, mask=index < tl.load(row), other=0.0).to(real)
    square = g * g
    tl.store(partials + program, tl.sum(tl.where(square < float("inf"), square, 0.0)))


@triton.jit
def carry_kernel(table, numbers, partials, temperatures, sigmas, DTYPE: tl.constexpr):
    """Carries v̄ of one tensor on and write its σ; the partial sums are added in order, the same on every replica."""
    place = tl.program_id(0)
    row = table + HEADER + place * ROW
    first, count = tl.load(row + 6), tl.load(row + 7)
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    lanes = tl.zeros((HALF,), dtype=real)
    start = count * 0
    while start < count:  # the interpreter of Triton 3.2 takes no tensor as the end of a range
        index = start + tl.arange(0, HALF)
        lanes += tl.load(partials + first + index, mask=index < count, other=0.0)
        start += HALF
    mean = tl.sum(lanes) / tl.maximum(tl.load(row), 1).to(real)
    beta2 = tl.load(numbers + 2)
    v_mean_at = _typed(tl.load(row + 5), "fp64" if DTYPE == "fp64" else "fp32")
    v_mean = tl.load(v_mean_at) * beta2.to(real) + (1.0 - beta2).to(real) * mean  # (3)
    tl.store(v_mean_at, v_mean)
    temperature = tl.load(temperatures + place)
    heat = temperature.to(real) * v_mean
    heat = tl.where(heat < 0.0, 0.0, heat)
    sigma = tl.sqrt(heat + 1e-10)  # (8)
    tl.store(sigmas + place, tl.where(temperature > 0.01, sigma, 0.0))


@triton.jit
def _half(
    row, index, xi, sigma, numbers, eta_at, rounding, place,
    WARM: tl.constexpr, MAXIMIZE: tl.constexpr, STOCHASTIC: tl.constexpr,
    DTYPE: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """Steps the elements ``index`` of one tensor."""
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    inside = index < tl.load(row)
    theta_at = _typed(tl.load(row + 1), DTYPE) + index
    m_at = _typed(tl.load(row + 3), STATE) + index
    v_at = _typed(tl.load(row + 4), STATE) + index
    theta = tl.load(theta_at, mask=inside, other=0.0).to(real)
    g = tl.load(_typed(tl.load(row + 2), DTYPE) + index, mask=inside, other=0.0).to(real)
    m = tl.load(m_at, mask=inside, other=0.0).to(real)
    v = tl.load(v_at, mask=inside, other=0.0).to(real)
    eta = tl.load(numbers)
    if eta_at is not None:
        eta = tl.load(eta_at).to(tl.float64)
    beta1, beta2 = tl.load(numbers + 1), tl.load(numbers + 2)
    if MAXIMIZE:
        g = -g
    m = m * beta1.to(real) + (1.0 - beta1).to(real) * g  # (2)
    v = v * beta2.to(real) + (1.0 - beta2).to(real) * (g * g)  # (3)
    a = m / (tl.sqrt(v) + tl.load(numbers + 4).to(real))  # (4)
    t = tl.exp(tl.abs(a) * -2.0)  # (5): q = (1 - t) / (1 + t)
    sign = tl.where(m > 0.0, 1.0, tl.where(m < 0.0, -1.0, 0.0)).to(real)
    agree = ((m > 0.0) & (g > 0.0)) | ((m < 0.0) & (g < 0.0))
    s = sign * tl.where(agree, 1.5, 1.0).to(real)  # (6)
    if WARM:
        s += sigma * xi.to(real)  # (8)
    u = 2.0 * (t * s + (1.0 - t) * a) / (1.0 + t)  # (7)
    theta = theta * (1.0 - eta * tl.load(numbers + 3)).to(real) - eta.to(real) * u  # (9)
    if STOCHASTIC:
        bits = ((_mixed(index.to(tl.int32), rounding + 4 * place) * TO_X) >> 16) & 0xFFFF
        cut = ((theta.to(tl.int32, bitcast=True) + bits) & -65536).to(tl.float32, bitcast=True)
        theta = tl.where(tl.abs(theta) < float("inf"), cut, theta)
    if STATE == "fp16":
        held = tl.minimum(tl.maximum(v, 5.960464477539063e-08), 65504.0)
        v = tl.where((v > 0.0) & (v < float("inf")), held, v)
    tl.store(theta_at, theta, mask=inside)
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)


@triton.jit
def step_kernel(
    table, numbers, blocks, keys, rounding, sigmas, eta_at,
    WARM: tl.constexpr, MAXIMIZE: tl.constexpr, STOCHASTIC: tl.constexpr,
    DTYPE: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """Steps one group of one tensor: the first elements of 1024 pairs, then their partners."""
    program = tl.program_id(0)
    place = tl.load(blocks + 2 * program)
    start = tl.load(blocks + 2 * program + 1)
    row = table + HEADER + place * ROW
    index = start + tl.arange(0, HALF)
    a = 0.0
    b = 0.0
    sigma = 0.0
    if WARM:
        sigma = tl.load(sigmas + place)
        a, b = _pair((start // 2 + tl.arange(0, HALF)).to(tl.int32), keys + 4 * place)
    _half(row, index, a, sigma, numbers, eta_at, rounding, place, WARM, MAXIMIZE, STOCHASTIC, DTYPE, STATE)
    if start + HALF < tl.load(row):
        _half(row, index + HALF, b, sigma, numbers, eta_at, rounding, place, WARM, MAXIMIZE, STOCHASTIC, DTYPE, STATE)
