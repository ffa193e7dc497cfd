// ThermoLion's step over many tensors at once: the equations (1)-(9) of _equations.py, one pass over memory while cold
// and one more over the gradients while warm. Threads are torch's own. Products and sums are rounded one by one
// (-ffp-contract=off), so that the noise is that of the reference.

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fused_cpu_noise.h"

namespace {

// Brings numbers into the cache; there is no harm in an address past the end. A macro, since GCC takes a function that
// only prefetches for one without effect and drops its calls.
#if defined(__GNUC__)
#define BRING_NEAR(from, count)                                              \
  for (int64_t byte = 0; byte < (count) * int64_t(sizeof(*(from))); byte += 64) \
    __builtin_prefetch(reinterpret_cast<const char*>(from) + byte);
#else
#define BRING_NEAR(from, count)
#endif

constexpr int64_t NEAR = 4 * SLICE;  // elements by which θ, m and v are brought near before they are updated
constexpr int64_t CHUNK = 8 * GROUP;  // elements that one thread takes at a time from a big tensor
constexpr int64_t BIG = 1 << 18;      // tensors above this are shared among threads

struct Tensors {  // one row of the table that Python fills
  int64_t theta, grad, m, v, v_mean, numel, step, index;
};

struct Numbers {
  double lr, beta1, beta2, weight_decay, eps;
  uint64_t seed, rounding_seed;
  int64_t maximize, warm, stochastic, skip;
};

// The smaller of two numbers that are not negative; a NaN counts as large. Their bits compare as they do, and faster.
inline float at_most(float bound, float x) {
  return bits_of<float>(std::min(bits_of<int32_t>(bound), bits_of<int32_t>(x)));
}

// q = tanh|a|: |a| P(a²) / Q(a²), fitted on [0, 9.02], above which it is 1. It is finite where a is NaN: (7) adds a.
inline float gate(float a) {
  float x = at_most(9.02f, std::abs(a));
  float y = x * x;
  float p = polynomial(y, 9.99999979e-01f, 1.33797016e-01f, 3.49401505e-03f, 2.05831612e-05f, 1.33186389e-08f);
  return at_most(1.0f, x * p / polynomial(y, 1.0f, 4.67130169e-01f, 2.58709992e-02f, 3.28306092e-04f, 7.76183957e-07f));
}

inline double gate(double a) { return std::tanh(std::abs(a)); }

template <class C>
struct Coefficients {
  C lr, keep, beta1, one_beta1, beta2, one_beta2, eps, half_sigma;
};

template <class C>
using Bits = std::conditional_t<sizeof(C) == 4, uint32_t, uint64_t>;
template <class C>
constexpr Bits<C> SIGN = Bits<C>(1) << (8 * sizeof(C) - 1);

template <class C>
inline C flipped(C number, Bits<C> sign) { return bits_of<C>(bits_of<Bits<C>>(number) ^ sign); }

// Updates SLICE elements, all in the type C that is computed in, and draws `next`, the noise of as many later ones, if
// DRAW. `xi` is not read where it is cold; `flip` is SIGN to maximize, else 0. Elements pass through one short loop
// after the other; divisions and roots, which keep one unit busy, share a loop with a polynomial of the noise.
template <class C, bool WARM, bool DRAW>
inline void update(C* __restrict theta, const C* __restrict grad, C* __restrict m, C* __restrict v,
                   const float* __restrict xi, float* __restrict next, Drawing& drawing, Bits<C> flip,
                   const Coefficients<C>& c) {
  const Bits<C> HALF_OF_ONE = bits_of<Bits<C>>(C(0.5)), AND_A_HALF = bits_of<Bits<C>>(C(0.75)) ^ HALF_OF_ONE;
  alignas(64) C as[SLICE], qs[SLICE];
  auto moments = [&](int64_t i) {
    C g = flipped(grad[i], flip);
    m[i] = add_product(m[i] * c.beta1, g, c.one_beta1);  // (2)
    v[i] = v[i] * c.beta2 + c.one_beta2 * g * g;  // (3)
    as[i] = m[i] / (std::sqrt(v[i]) + c.eps);  // (4)
  };
  if constexpr (DRAW) {
    for (int64_t l = 0; l < PAIRS; ++l) drawing.mix(l);
    for (int64_t l = 0; l < PAIRS; ++l) {
      moments(l);
      drawing.take_log(l);
      moments(PAIRS + l);
    }
  } else {
    for (int64_t i = 0; i < SLICE; ++i) moments(i);
  }
  for (int64_t i = 0; i < SLICE; ++i) qs[i] = gate(as[i]);  // (5)
  for (int64_t i = 0; i < SLICE; ++i) {
    Bits<C> sign = bits_of<Bits<C>>(m[i]) & SIGN<C>, moves = Bits<C>(0) - Bits<C>(m[i] != 0);
    bool agree = std::make_signed_t<Bits<C>>(bits_of<Bits<C>>(grad[i]) ^ (flip ^ sign)) > 0;
    C half_s = bits_of<C>((sign | HALF_OF_ONE | (agree ? AND_A_HALF : 0)) & moves);  // (6)
    if (WARM) half_s += c.half_sigma * C(xi[i]);  // (8)
    C half = add_product((C(1) - qs[i]) * half_s, qs[i], as[i]);  // (7), u / 2
    theta[i] = add_product(theta[i] * c.keep, half, C(-2) * c.lr);  // (9)
  }
  if (DRAW)
    for (int64_t l = 0; l < PAIRS; ++l) drawing.turn(l, next);
}

template <class T>
struct Computed { using type = float; };
template <>
struct Computed<double> { using type = double; };

template <class S, class C>
inline S stored_v(C v) {
  if constexpr (std::is_same_v<S, c10::Half>) {
    C held = v < C(0x1p-24) ? C(0x1p-24) : (v > C(65504) ? C(65504) : v);
    return S(v > 0 && v <= std::numeric_limits<C>::max() ? held : v);
  }
  return S(v);
}

inline c10::BFloat16 rounded_up_or_down(float theta, uint32_t random) {
  if (!std::isfinite(theta)) return c10::BFloat16(theta);
  return c10::BFloat16(bits_of<float>((bits_of<uint32_t>(theta) + random) & 0xFFFF0000u));
}

template <class C>
inline C finite_square(C g) {
  C square = g * g;
  return square <= std::numeric_limits<C>::max() ? square : C(0);
}

template <class T, class S>
class Step {
  using C = typename Computed<T>::type;

 public:
  Step(const Tensors& t, const Numbers& numbers) : t(t), numbers(numbers), keys(numbers.seed, t.step, t.index), rounding(numbers.rounding_seed, t.step, t.index) {}

  C sum(int64_t first, int64_t last) const {  // Σ g² without what is not finite
    constexpr int64_t ROWS = 8;
    const T* grad = reinterpret_cast<const T*>(t.grad);
    double total = 0;
    for (int64_t start = first; start < last; start += GROUP) {
      C lanes[32] = {};
      int64_t stop = std::min(start + GROUP, last), i = start;
      for (; i + 32 * ROWS <= stop; i += 32 * ROWS)
        for (int64_t l = 0; l < 32; ++l) {
          C lane = lanes[l];  // stays in a register for several rows
          for (int64_t row = 0; row < ROWS; ++row) lane += finite_square(C(grad[i + 32 * row + l]));
          lanes[l] = lane;
        }
      for (; i + 32 <= stop; i += 32)
        for (int64_t l = 0; l < 32; ++l) lanes[l] += finite_square(C(grad[i + l]));
      for (; i < stop; ++i) lanes[0] += finite_square(C(grad[i]));
      for (C lane : lanes) total += lane;
    }
    return C(total);
  }

  C carry(C total, double temperature) const {  // v̄, and σ from it
    C* v_mean = reinterpret_cast<C*>(t.v_mean);
    *v_mean = *v_mean * C(numbers.beta2) + C(1 - numbers.beta2) * (total / C(std::max<int64_t>(t.numel, 1)));
    C heat = C(temperature) * *v_mean;
    return std::sqrt((heat > 0 ? heat : C(0)) + C(1e-10));  // (8)
  }

  void run(int64_t first, int64_t last, C sigma) const {
    if (numbers.warm) groups<true>(first, last, sigma);
    else groups<false>(first, last, sigma);
  }

 private:
  // While a group is updated, the noise of the next one is drawn and its θ, m and v are brought near, slice by slice:
  // drawing waits for neither memory nor divisions.
  template <bool WARM>
  void groups(int64_t first, int64_t last, C sigma) const {
    const Coefficients<C> c{C(numbers.lr), C(1 - numbers.lr * numbers.weight_decay), C(numbers.beta1), C(1 - numbers.beta1),
                            C(numbers.beta2), C(1 - numbers.beta2), C(numbers.eps), C(0.5) * sigma};
    alignas(64) float noise[2][GROUP];
    float *xi = noise[0], *next = noise[1];
    if (WARM)
      for (int64_t i = 0; i < std::min(HALF, last - first); i += PAIRS) draw(xi + i, first / GROUP, i);
    for (int64_t start = first; start < last; start += GROUP) {
      int64_t n = std::min(GROUP, last - start), ahead = std::min(HALF, last - start - GROUP);
      for (int64_t i = 0; i < n; i += SLICE) {
        Drawing drawing(start / GROUP + 1, i / 2, keys);
        if (WARM) {
          int64_t near = start + i + NEAR;
          BRING_NEAR(theta() + near, SLICE) BRING_NEAR(m() + near, SLICE) BRING_NEAR(v() + near, SLICE)
        }
        int64_t count = std::min(SLICE, n - i);
        if (WARM && i / 2 < ahead) slice<WARM, true>(start + i, count, xi + i, next + i / 2, drawing, c);
        else slice<WARM, false>(start + i, count, xi + i, next, drawing, c);
      }
      std::swap(xi, next);
    }
  }

  void draw(float* xi, int64_t group, int64_t first) const {
    Drawing drawing(group, first, keys);
    for (int64_t l = 0; l < PAIRS; ++l) drawing.mix(l);
    for (int64_t l = 0; l < PAIRS; ++l) drawing.take_log(l);
    for (int64_t l = 0; l < PAIRS; ++l) drawing.turn(l, xi);
  }

  template <bool WARM, bool DRAW>
  void slice(int64_t start, int64_t n, const float* xi, float* next, Drawing& drawing, const Coefficients<C>& c) const {
    const Bits<C> flip = numbers.maximize ? SIGN<C> : 0;
    if constexpr (std::is_same_v<T, C> && std::is_same_v<S, C>)
      if (n == SLICE && !numbers.skip)
        return update<C, WARM, DRAW>(theta() + start, grad() + start, m() + start, v() + start, xi, next, drawing, flip,
                                     c);
    widened<WARM, DRAW>(start, n, xi, next, drawing, flip, c);
  }

  // Copies at most SLICE elements, filled up with zeros, into the type C and back.
  template <bool WARM, bool DRAW>
  void widened(int64_t start, int64_t n, const float* xi, float* next, Drawing& drawing, Bits<C> flip,
               const Coefficients<C>& c) const {
    alignas(64) C wide[4][SLICE] = {};
    for (int64_t i = 0; i < n; ++i) {
      wide[0][i] = C(theta()[start + i]), wide[1][i] = C(grad()[start + i]);
      wide[2][i] = C(m()[start + i]), wide[3][i] = C(v()[start + i]);
    }
    update<C, WARM, DRAW>(wide[0], wide[1], wide[2], wide[3], xi, next, drawing, flip, c);
    for (int64_t i = 0; i < n; ++i) {
      if (numbers.skip && wide[1][i] == 0) continue;
      if constexpr (std::is_same_v<T, c10::BFloat16>)
        theta()[start + i] = numbers.stochastic
            ? rounded_up_or_down(wide[0][i], (0x735A2D97u * mixed(origin(uint32_t(start + i), rounding), rounding)) >> 16)
            : c10::BFloat16(wide[0][i]);
      else
        theta()[start + i] = T(wide[0][i]);
      m()[start + i] = S(wide[2][i]);
      v()[start + i] = stored_v<S>(wide[3][i]);
    }
  }

  T* theta() const { return reinterpret_cast<T*>(t.theta); }
  const T* grad() const { return reinterpret_cast<const T*>(t.grad); }
  S* m() const { return reinterpret_cast<S*>(t.m); }
  S* v() const { return reinterpret_cast<S*>(t.v); }

  Tensors t;
  const Numbers& numbers;
  Keys keys, rounding;
};

template <class T, class S>
void whole(const Tensors& t, double temperature, const Numbers& numbers) {
  Step<T, S> step(t, numbers);
  step.run(0, t.numel, numbers.warm ? step.carry(step.sum(0, t.numel), temperature) : 0);
}

template <class T, class S>
void shared(const Tensors& t, double temperature, const Numbers& numbers) {
  using C = typename Computed<T>::type;
  Step<T, S> step(t, numbers);
  int64_t chunks = (t.numel + CHUNK - 1) / CHUNK;
  C sigma = 0;
  if (numbers.warm) {
    std::vector<C> sums(chunks);  // added in order, so that the number of threads does not matter
    at::parallel_for(0, chunks, 4, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) sums[i] = step.sum(i * CHUNK, std::min((i + 1) * CHUNK, t.numel));
    });
    double total = 0;
    for (C sum : sums) total += sum;
    sigma = step.carry(C(total), temperature);
  }
  at::parallel_for(0, chunks, 2, [&](int64_t first, int64_t last) {
    step.run(first * CHUNK, std::min(last * CHUNK, t.numel), sigma);
  });
}

template <class T, class S>
void all(const Tensors* table, const double* temperatures, int64_t count, const Numbers& numbers) {
  int64_t elements = 0;
  for (int64_t i = 0; i < count; ++i) elements += table[i].numel;
  int64_t grain = std::max<int64_t>(1, count * 32768 / std::max<int64_t>(elements, 1));
  at::parallel_for(0, count, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      if (table[i].numel <= BIG) whole<T, S>(table[i], temperatures[i], numbers);
  });
  for (int64_t i = 0; i < count; ++i)
    if (table[i].numel > BIG) shared<T, S>(table[i], temperatures[i], numbers);
}

template <class T>
void with_state(int state, const Tensors* table, const double* temperatures, int64_t count, const Numbers& numbers) {
  if (state == 0) all<T, float>(table, temperatures, count, numbers);
  if (state == 2) all<T, c10::BFloat16>(table, temperatures, count, numbers);
  if (state == 3) all<T, c10::Half>(table, temperatures, count, numbers);
}

}  // namespace

// The dtypes' codes: 0 float32, 1 float64, 2 bfloat16, 3 float16; float64 goes with float64 alone.
extern "C" void thermolion_step(const Tensors* table, const double* temperatures, int64_t count,
                                const Numbers* numbers, int64_t theta, int64_t state) {
  if (theta == 0) with_state<float>(int(state), table, temperatures, count, *numbers);
  if (theta == 1) all<double, double>(table, temperatures, count, *numbers);
  if (theta == 2) with_state<c10::BFloat16>(int(state), table, temperatures, count, *numbers);
  if (theta == 3) with_state<c10::Half>(int(state), table, temperatures, count, *numbers);
}
