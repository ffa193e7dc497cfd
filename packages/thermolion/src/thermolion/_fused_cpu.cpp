// ThermoLion's step over many tensors at once: the equations (1)-(9) of _equations.py and the noise (10)-(14) of
// _noise.py, one pass over memory while cold and one more over the gradients while warm. Threads are torch's own.
// Products and sums are rounded one by one (-ffp-contract=off), so that the noise is that of the reference.

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t HALF = 1024, GROUP = 2048;
constexpr int64_t CHUNK = 8 * GROUP;       // elements that one thread takes at a time from a big tensor
constexpr int64_t BIG = 1 << 18;           // tensors above this are shared among threads
constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15ull;

struct Tensors {  // one row of the table that Python fills
  int64_t theta, grad, m, v, v_mean, numel, step, index;
};

struct Numbers {
  double lr, beta1, beta2, weight_decay, eps;
  uint64_t seed, rounding_seed;
  int64_t maximize, warm, stochastic;
};

uint64_t mix(uint64_t word) {
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
  return word ^ (word >> 31);
}

struct Keys {
  uint32_t k0, k1, k2, k3;
  Keys(uint64_t seed, const Tensors& t) {  // (10)
    uint64_t h = mix(mix(mix(seed + GAMMA) ^ uint64_t(t.step)) + (uint64_t(t.index) + 1) * GAMMA);
    uint64_t l = mix(h + GAMMA);
    k0 = uint32_t(h), k1 = uint32_t(h >> 32), k2 = uint32_t(l), k3 = uint32_t(l >> 32);
  }
};

inline uint32_t fold(uint32_t word, int shift) { return word ^ uint32_t(int32_t(word) >> shift); }

inline uint32_t mixed(uint32_t counter, const Keys& k) {  // (11)
  uint32_t z = fold(2654435769u * counter + k.k0, 16);
  return fold(0x21F0AAADu * z + k.k1, 15);
}

template <class To, class From>
inline To bits_of(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

inline float log_of(float u) {  // Cephes' polynomial on [√½, √2)
  int32_t bits = bits_of<int32_t>(u);
  int32_t e = (bits - 0x3F3504F3) >> 23;
  float f = bits_of<float>(bits - (e << 23)) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float square = f * f;
  return float(e) * 0.693147180559945f + (f + (square * f * p - 0.5f * square));
}

template <class C>
inline C add_product(C sum, C a, C b) {  // rounded once where torch's own kernels round once
#ifdef __FMA__
  return std::fma(a, b, sum);
#else
  return sum + a * b;
#endif
}

inline float polynomial(float s, float c0, float c1, float c2, float c3, float c4) {
  return add_product(c0, add_product(c1, add_product(c2, add_product(c3, c4, s), s), s), s);
}

// ξ of the elements of one group: of n, the first min(n, HALF) are first elements of pairs, the rest their partners.
void draw(float* xi, int64_t group, int64_t n, const Keys& k) {
  int64_t pairs = std::min(n, HALF);
  uint32_t base = uint32_t(group * HALF);
  for (int64_t l = 0; l < pairs; ++l) {
    uint32_t z = mixed(base + uint32_t(l), k);
    uint32_t x = 0x735A2D97u * z;  // (11)
    uint32_t y = 0x846CA68Bu * fold(0xD35A2D97u * z + k.k2, 16) + k.k3;  // (12)
    float u = std::abs(float(int32_t(x))) * 0x1p-31f + 0x1p-32f;
    float radius = std::sqrt(log_of(u) * -2.0f);  // (13)
    radius = bits_of<float>(bits_of<uint32_t>(radius) ^ (x & 0x80000000u));
    float phi = float(int32_t(y)) * float(3.14159265358979323846 * 0x1p-32);
    float square = phi * phi;
    xi[l] = radius * polynomial(square, 0.9999999532f, -0.4999990506f, 0.04166357893f, -0.001385366693f, 2.315317416e-05f);                // (14)
    xi[HALF + l] = radius * (phi * polynomial(square, 0.9999999957f, -0.1666665797f, 0.008333050617f, -0.0001980904636f, 2.605166277e-06f));  // (14)
  }
}

inline float exp_of(float x) {  // for x <= 0; a NaN stays one
  x = x < -87.0f ? -87.0f : x;
  float n = x * 1.44269504088896341f + 12582912.0f;  // 1.5 · 2²³ rounds to nearest
  int32_t k = bits_of<int32_t>(n);
  n -= 12582912.0f;
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * bits_of<float>((k + 127) << 23);
}

inline double exp_of(double x) { return std::exp(x); }

template <class C>
struct Coefficients {
  C lr, keep, beta1, one_beta1, beta2, one_beta2, eps, sigma;
};

// n elements, all in the type C that is computed in; xi is null where it is cold.
template <class C, bool WARM>
void update(C* __restrict theta, const C* __restrict grad, C* __restrict m, C* __restrict v,
            const float* __restrict xi, int64_t n, C sign, Coefficients<C> c) {
  for (int64_t i = 0; i < n; ++i) {
    C g = grad[i] * sign;
    C m1 = add_product(m[i] * c.beta1, g, c.one_beta1);  // (2)
    C v1 = v[i] * c.beta2 + c.one_beta2 * g * g;  // (3)
    C a = m1 / (std::sqrt(v1) + c.eps);  // (4)
    C t = exp_of(C(-2) * std::abs(a));   // (5)  q = (1 - t) / (1 + t)
    C up = g > 0 ? C(1.5) : C(1), down = g < 0 ? C(-1.5) : C(-1);
    C s = m1 > 0 ? up : C(0);
    s = m1 < 0 ? down : s;  // (6)
    if (WARM) s += c.sigma * C(xi[i]);  // (8)
    C u = C(2) * (t * s + (C(1) - t) * a) / (C(1) + t);  // (7)
    theta[i] = add_product(theta[i] * c.keep, u, -c.lr);  // (9)
    m[i] = m1;
    v[i] = v1;
  }
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

template <class T, class S>
class Step {
  using C = typename Computed<T>::type;

 public:
  Step(const Tensors& t, const Numbers& numbers) : t(t), numbers(numbers), keys(numbers.seed, t), rounding(numbers.rounding_seed, t) {}

  C sum(int64_t first, int64_t last) const {  // Σ g² without what is not finite
    const T* grad = reinterpret_cast<const T*>(t.grad);
    double total = 0;
    for (int64_t start = first; start < last; start += GROUP) {
      C lanes[32] = {};
      int64_t stop = std::min(start + GROUP, last), i = start;
      for (; i + 32 <= stop; i += 32)
        for (int64_t l = 0; l < 32; ++l) {
          C g = C(grad[i + l]), square = g * g;
          lanes[l] += square <= std::numeric_limits<C>::max() ? square : C(0);
        }
      for (; i < stop; ++i) {
        C g = C(grad[i]), square = g * g;
        lanes[0] += square <= std::numeric_limits<C>::max() ? square : C(0);
      }
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
    Coefficients<C> c{C(numbers.lr), C(1 - numbers.lr * numbers.weight_decay), C(numbers.beta1), C(1 - numbers.beta1),
                      C(numbers.beta2), C(1 - numbers.beta2), C(numbers.eps), sigma};
    C sign = numbers.maximize ? C(-1) : C(1);
    alignas(64) float xi[GROUP];
    for (int64_t start = first; start < last; start += GROUP) {
      int64_t n = std::min(GROUP, last - start);
      if (numbers.warm) draw(xi, start / GROUP, n, keys);
      if constexpr (std::is_same_v<T, C> && std::is_same_v<S, C>)
        apply(theta() + start, grad() + start, m() + start, v() + start, xi, n, sign, c);
      else
        widened(start, n, xi, sign, c);
    }
  }

 private:
  T* theta() const { return reinterpret_cast<T*>(t.theta); }
  const T* grad() const { return reinterpret_cast<const T*>(t.grad); }
  S* m() const { return reinterpret_cast<S*>(t.m); }
  S* v() const { return reinterpret_cast<S*>(t.v); }

  void apply(C* theta, const C* grad, C* m, C* v, const float* xi, int64_t n, C sign, const Coefficients<C>& c) const {
    if (numbers.warm) update<C, true>(theta, grad, m, v, xi, n, sign, c);
    else update<C, false>(theta, grad, m, v, xi, n, sign, c);
  }

  void widened(int64_t start, int64_t n, const float* xi, C sign, const Coefficients<C>& c) const {
    alignas(64) C wide[4][GROUP];
    for (int64_t i = 0; i < n; ++i) {
      wide[0][i] = C(theta()[start + i]), wide[1][i] = C(grad()[start + i]);
      wide[2][i] = C(m()[start + i]), wide[3][i] = C(v()[start + i]);
    }
    apply(wide[0], wide[1], wide[2], wide[3], xi, n, sign, c);
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (std::is_same_v<T, c10::BFloat16>)
        theta()[start + i] = numbers.stochastic
            ? rounded_up_or_down(wide[0][i], (0x735A2D97u * mixed(uint32_t(start + i), rounding)) >> 16)
            : c10::BFloat16(wide[0][i]);
      else
        theta()[start + i] = T(wide[0][i]);
      m()[start + i] = S(wide[2][i]);
      v()[start + i] = stored_v<S>(wide[3][i]);
    }
  }

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
