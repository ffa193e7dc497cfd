// The noise (10)-(14) of _noise.py in C++, and the arithmetic that it shares with the step.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t HALF = 1024, GROUP = 2048;
constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15ull;

uint64_t mix(uint64_t word) {
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
  return word ^ (word >> 31);
}

struct Keys {
  uint32_t k0, k1, k2, k3;
  Keys(uint64_t seed, int64_t step, int64_t index) {  // (10)
    uint64_t h = mix(mix(mix(seed + GAMMA) ^ uint64_t(step)) + (uint64_t(index) + 1) * GAMMA);
    uint64_t l = mix(h + GAMMA);
    k0 = uint32_t(h), k1 = uint32_t(h >> 32), k2 = uint32_t(l), k3 = uint32_t(l >> 32);
  }
};

inline uint32_t fold(uint32_t word, int shift) { return word ^ uint32_t(int32_t(word) >> shift); }

inline uint32_t origin(uint32_t counter, const Keys& k) { return 2654435769u * counter + k.k0; }

inline uint32_t mixed(uint32_t origin, const Keys& k) {  // (11)
  return fold(0x21F0AAADu * fold(origin, 16) + k.k1, 15);
}

template <class To, class From>
inline To bits_of(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

template <class C>
inline C add_product(C sum, C a, C b) {  // rounded once where torch's own kernels round once
#ifdef __FMA__
  return std::fma(a, b, sum);
#else
  return sum + a * b;
#endif
}

inline float polynomial(float, float last) { return last; }

template <class... Rest>
inline float polynomial(float x, float first, Rest... rest) {  // first + x (second + x (…))
  return add_product(first, polynomial(x, rest...), x);
}

// -2 ln u of u = 2⁻³¹ w: Cephes' polynomial on [√½, √2), in g = 2 - 2f with f the fraction of u.
inline float minus_two_log(float w) {
  constexpr int32_t ROOT = 0x3F3504F3;  // √½
  int32_t bits = bits_of<int32_t>(w) - (31 << 23) - ROOT;
  float g = 2.0f - bits_of<float>((bits & 0x7FFFFF) + ROOT + (1 << 23));
  float p = polynomial(g, 0.25f, 0.0833333284f, 0.0312499925f, 0.0125004463f, 0.00520876795f,
                       0.00222645677f, 0.000970323512f, 0.000456132751f, 0.000224894728f, 6.87273787e-05f);
  return add_product(add_product(g, g * g, p), float(bits >> 23), -1.38629436111989f);
}

constexpr int64_t PAIRS = 64, SLICE = 2 * PAIRS;  // what passes through one short loop after the other

struct Lanes {  // 2654435769 c for the counters of one slice
  uint32_t at[PAIRS] = {};
  constexpr Lanes() {
    for (uint32_t l = 0; l < PAIRS; ++l) at[l] = 2654435769u * l;
  }
};
constexpr Lanes LANES;

// PAIRS first elements of a group, from number `first` on, and their partners, drawn in three stages. Each stage is a
// short loop over all pairs, so that a core has many of them under way at once.
class Drawing {
 public:
  Drawing(int64_t group, int64_t first, const Keys& k) : start(origin(uint32_t(group * HALF + first), k)), k(k) {}

  inline void mix(int64_t l) {
    uint32_t z = mixed(start + LANES.at[l], k);
    x[l] = 0x735A2D97u * z;  // (11)
    y[l] = 0x846CA68Bu * fold(0xD35A2D97u * z + k.k2, 16) + k.k3;  // (12)
  }

  inline void take_log(int64_t l) { square[l] = minus_two_log(std::abs(float(int32_t(x[l]))) + 0.5f); }  // r² of (13)

  // ξ of the pair: of number `l` of `xi`, and of its partner.
  inline void turn(int64_t l, float* __restrict xi) const {
    float radius = bits_of<float>(bits_of<uint32_t>(std::sqrt(square[l])) ^ (x[l] & 0x80000000u));  // (13)
    float phi = float(int32_t(y[l])) * float(3.14159265358979323846 * 0x1p-32);
    float phi2 = phi * phi;
    float cosine = polynomial(phi2, 0.9999999532f, -0.4999990506f, 0.04166357893f, -0.001385366693f, 2.315317416e-05f);
    float sine = polynomial(phi2, 0.9999999957f, -0.1666665797f, 0.008333050617f, -0.0001980904636f, 2.605166277e-06f);
    xi[l] = radius * cosine;
    xi[HALF + l] = radius * (phi * sine);  // (14)
  }

 private:
  alignas(64) uint32_t x[PAIRS], y[PAIRS];
  alignas(64) float square[PAIRS];
  uint32_t start;
  const Keys& k;
};

}  // namespace
