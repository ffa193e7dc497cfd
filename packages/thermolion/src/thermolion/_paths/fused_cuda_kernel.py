"""The Triton kernels: equations (1) to (9) of `_equations.py` and (11) to (14) of `_noise.py` on one group of elements.

They write in place and are never tuned, because tuning would run them several times on live parameters.
"""

# Triton has no types, and its constants are upper case.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false, reportArgumentType=false
# ruff: noqa: N803

import triton
import triton.language as tl

from thermolion import _noise
from thermolion._noise import signed

HALF = tl.constexpr(1024)  # elements that a pair lies apart; one program takes a group of twice as many
HEADER = tl.constexpr(8)  # lr, beta1, beta2, weight_decay, eps, temp_decay, seed, rounding seed
ROW = tl.constexpr(11)  # numel, theta, g, m, v, v_mean, first program, programs, index, step, temperature
STEP = tl.constexpr(2654435769 - (1 << 32))
FIRST = tl.constexpr(0x21F0AAAD)
SECOND = tl.constexpr(0x846CA68B - (1 << 32))
TO_X = tl.constexpr(0x735A2D97)
TO_Y = tl.constexpr(0xD35A2D97 - (1 << 32))
GAMMA = tl.constexpr(signed(_noise.GAMMA, 64))
MIX1 = tl.constexpr(signed(0xBF58476D1CE4E5B9, 64))
MIX2 = tl.constexpr(signed(0x94D049BB133111EB, 64))
COSINE = (0.9999999532, -0.4999990506, 0.04166357893, -0.001385366693, 2.315317416e-05)
SINE = (0.9999999957, -0.1666665797, 0.008333050617, -0.0001980904636, 2.605166277e-06)
C0, C1, C2, C3, C4 = map(tl.constexpr, COSINE)
S0, S1, S2, S3, S4 = map(tl.constexpr, SINE)


@triton.jit
def probe_kernel(number):
    """Writes a zero, to see whether kernels work here."""
    tl.store(number, 0.0)


@triton.jit
def _typed(address, DTYPE: tl.constexpr, ALIGNED: tl.constexpr = False):
    if ALIGNED:
        address = tl.multiple_of(address, 16)
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
def _mix(word):
    """Returns splitmix64's finalizer; the masks make the shifts of signed words logical."""
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * MIX1
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * MIX2
    return word ^ ((word >> 31) & 0x1FFFFFFFF)


@triton.jit
def _hash(seed, count, index):
    """Returns h, which holds k0 and k1, and the word that holds k2 and k3."""
    h = _mix(_mix(_mix(seed + GAMMA) ^ count) + (index + 1) * GAMMA)  # (10)
    return h, _mix(h + GAMMA)


@triton.jit
def _mixed(counter, k0, k1):
    z = _fold(counter * STEP + k0, 16)
    return _fold(z * FIRST + k1, 15)  # (11)


@triton.jit
def _count_of(row, words, position, CAPTURABLE: tl.constexpr):
    """Returns the number of the step of one tensor."""
    count_at = _typed(tl.load(row + 9), "fp32") if CAPTURABLE else words + HEADER + position
    return tl.load(count_at).to(tl.int64)


@triton.jit
def _pair(counter, keys):
    """Returns A and B of (14) for these counters."""
    z = _mixed(counter, tl.load(keys), tl.load(keys + 1))
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
def sum_kernel(table, blocks, partials, DTYPE: tl.constexpr, CAPTURABLE: tl.constexpr, ALIGNED: tl.constexpr):
    """Writes Σ g² over one group of elements, without those whose square is not finite."""
    program = tl.program_id(0)
    row = table + tl.load(blocks + 2 * program) * ROW
    index = tl.load(blocks + 2 * program + 1) + tl.arange(0, 2 * HALF)
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    g = tl.load(_typed(tl.load(row + 2), DTYPE, ALIGNED) + index, mask=index < tl.load(row), other=0.0).to(real)
    square = g * g
    tl.store(partials + program, tl.sum(tl.where(square < float("inf"), square, 0.0)))


@triton.jit
def carry_kernel(
    table, words, numbers, partials, sigmas, keys, count, DTYPE: tl.constexpr, CAPTURABLE: tl.constexpr
):  # fmt: skip
    """Carries v̄ of one tensor on, write its σ and its keys; the partial sums are added in order on every replica.

    Where step and temperature lie on the device, they are advanced here. All that is written is a single number, which
    one thread writes from what it has read itself.
    """
    position = tl.program_id(0)
    row = table + position * ROW
    first, programs = tl.load(row + 6), tl.load(row + 7)
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    lanes = tl.zeros((HALF,), dtype=real)
    start = programs * 0
    while start < programs:  # the interpreter of Triton 3.2 takes no tensor as the end of a range
        index = start + tl.arange(0, HALF)
        lanes += tl.load(partials + first + index, mask=index < programs, other=0.0)
        start += HALF
    mean = tl.sum(lanes) / tl.maximum(tl.load(row), 1).to(real)
    beta2 = tl.load(numbers + 2)
    v_mean_at = _typed(tl.load(row + 5), "fp64" if DTYPE == "fp64" else "fp32")
    v_mean = tl.load(v_mean_at) * beta2.to(real) + (1.0 - beta2).to(real) * mean  # (3)
    tl.store(v_mean_at, v_mean)
    if CAPTURABLE:
        step_at, temperature_at = _typed(tl.load(row + 9), "fp32"), _typed(tl.load(row + 10), "fp64")
        step = tl.load(step_at) + 1.0
        temperature = tl.load(temperature_at) * tl.load(numbers + 5)  # (1)
        tl.store(step_at, step)
        tl.store(temperature_at, temperature)
        number = step.to(tl.int64)
    else:
        number = tl.load(words + HEADER + position)
        temperature = tl.load(numbers + HEADER + count + position)
    variance = temperature.to(real) * v_mean
    variance = tl.where(variance < 0.0, 0.0, variance)
    sigma = tl.sqrt(variance + 1e-10)  # (8)
    tl.store(sigmas + position, tl.where(temperature > 0.01, sigma, 0.0))
    high, low = _hash(tl.load(words + 6), number, tl.load(row + 8))
    tl.store(keys + 4 * position, high.to(tl.int32))
    tl.store(keys + 4 * position + 1, (high >> 32).to(tl.int32))
    tl.store(keys + 4 * position + 2, low.to(tl.int32))
    tl.store(keys + 4 * position + 3, (low >> 32).to(tl.int32))


@triton.jit
def _half(
    row, index, xi, sigma, numbers, eta_at, k0, k1,
    WARM: tl.constexpr, MAXIMIZE: tl.constexpr, SKIP: tl.constexpr, STOCHASTIC: tl.constexpr,
    DTYPE: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
):  # fmt: skip
    """Steps the elements ``index`` of one tensor."""
    real: tl.constexpr = tl.float64 if DTYPE == "fp64" else tl.float32
    inside = index < tl.load(row)
    theta_at = _typed(tl.load(row + 1), DTYPE, ALIGNED) + index
    m_at = _typed(tl.load(row + 3), STATE, ALIGNED) + index
    v_at = _typed(tl.load(row + 4), STATE, ALIGNED) + index
    theta = tl.load(theta_at, mask=inside, other=0.0).to(real)
    g = tl.load(_typed(tl.load(row + 2), DTYPE, ALIGNED) + index, mask=inside, other=0.0).to(real)
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
        bits = ((_mixed(index.to(tl.int32), k0, k1) * TO_X) >> 16) & 0xFFFF
        cut = ((theta.to(tl.int32, bitcast=True) + bits) & -65536).to(tl.float32, bitcast=True)
        theta = tl.where(tl.abs(theta) < float("inf"), cut, theta)
    if STATE == "fp16":
        stored = tl.minimum(tl.maximum(v, 5.960464477539063e-08), 65504.0)
        v = tl.where((v > 0.0) & (v < float("inf")), stored, v)
    if SKIP:
        inside = inside & (g != 0.0)
    tl.store(theta_at, theta, mask=inside)
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)


@triton.jit
def step_kernel(
    table, words, numbers, blocks, keys, sigmas, eta_at,
    WARM: tl.constexpr, MAXIMIZE: tl.constexpr, SKIP: tl.constexpr, STOCHASTIC: tl.constexpr,
    DTYPE: tl.constexpr, STATE: tl.constexpr, CAPTURABLE: tl.constexpr, ALIGNED: tl.constexpr,
):  # fmt: skip
    """Steps one group of one tensor: the first elements of 1024 pairs, then their partners."""
    program = tl.program_id(0)
    position = tl.load(blocks + 2 * program)
    start = tl.load(blocks + 2 * program + 1)
    row = table + position * ROW
    index = start + tl.arange(0, HALF)
    a = 0.0
    b = 0.0
    sigma = 0.0
    k0 = 0
    k1 = 0
    if WARM:
        sigma = tl.load(sigmas + position)
        a, b = _pair((start // 2 + tl.arange(0, HALF)).to(tl.int32), keys + 4 * position)
    if STOCHASTIC:
        high, _ = _hash(tl.load(words + 7), _count_of(row, words, position, CAPTURABLE), tl.load(row + 8))
        k0 = high.to(tl.int32)
        k1 = (high >> 32).to(tl.int32)
    _half(
        row, index, a, sigma, numbers, eta_at, k0, k1, WARM, MAXIMIZE, SKIP, STOCHASTIC, DTYPE, STATE, ALIGNED
    )  # fmt: skip
    if start + HALF < tl.load(row):
        _half(
            row, index + HALF, b, sigma, numbers, eta_at, k0, k1, WARM, MAXIMIZE, SKIP, STOCHASTIC, DTYPE, STATE,
            ALIGNED,
        )  # fmt: skip
