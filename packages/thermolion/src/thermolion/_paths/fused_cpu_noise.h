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

// -2 ln u: Cephes' polynomial on [√½, √2), in g = 2 - 2f with f the fraction.
inline float minus_two_log(float u) {
  int32_t bits = bits_of<int32_t>(u);
  int32_t e = (bits - 0x3F3504F3) >> 23;
  float g = 2.0f - bits_of<float>(bits - (e << 23) + (1 << 23));
  float p = polynomial(g, 0.25f, 0.0833333284f, 0.0312499925f, 0.0125004463f, 0.00520876795f,
                       0.00222645677f, 0.000970323512f, 0.000456132751f, 0.000224894728f, 6.87273787e-05f);
  return add_product(add_product(g, g * g, p), float(e), -1.38629436111989f);
}

// Brings 2 N elements near; there is no harm in an address past the end.
template <int64_t N, class T>
inline void prefetch(const T* from) {
#if defined(__GNUC__)
  for (int64_t line = 0; line < 2 * N * int64_t(sizeof(T)) / 64; ++line)
    __builtin_prefetch(reinterpret_cast<const char*>(from) + 64 * line);
#endif
}

// ξ of the elements of one group: of n, the first min(n, HALF) are first elements of pairs, the rest their partners.
// The pairs pass through in slices, and a slice through one short loop after the other, so that a core has many of
// them under way at once. Meanwhile the group's θ, m and v are brought near, since drawing itself waits for no memory.
template <class T, class S>
void draw(float* xi, int64_t group, int64_t n, const Keys& k, const T* theta, const S* m, const S* v) {
  constexpr int64_t SLICE = 32;
  alignas(64) uint32_t x[SLICE], y[SLICE];
  alignas(64) float radius[SLICE];
  uint32_t base = uint32_t(group * HALF);
  for (int64_t first = 0; first < std::min(n, HALF); first += SLICE) {  // whole slices, for xi has room
    prefetch<SLICE>(theta + 2 * first);
    for (int64_t l = 0; l < SLICE; ++l) {
      uint32_t z = mixed(base + uint32_t(first + l), k);
      x[l] = 0x735A2D97u * z;  // (11)
      y[l] = 0x846CA68Bu * fold(0xD35A2D97u * z + k.k2, 16) + k.k3;  // (12)
    }
    prefetch<SLICE>(m + 2 * first);
    for (int64_t l = 0; l < SLICE; ++l)
      radius[l] = minus_two_log(add_product(0x1p-32f, std::abs(float(int32_t(x[l]))), 0x1p-31f));
    prefetch<SLICE>(v + 2 * first);
    for (int64_t l = 0; l < SLICE; ++l) {
      float signed_radius = bits_of<float>(bits_of<uint32_t>(std::sqrt(radius[l])) ^ (x[l] & 0x80000000u));  // (13)
      float phi = float(int32_t(y[l])) * float(3.14159265358979323846 * 0x1p-32);
      float square = phi * phi;
      float cosine = polynomial(square, 0.9999999532f, -0.4999990506f, 0.04166357893f, -0.001385366693f, 2.315317416e-05f);
      float sine = polynomial(square, 0.9999999957f, -0.1666665797f, 0.008333050617f, -0.0001980904636f, 2.605166277e-06f);
      xi[first + l] = signed_radius * cosine;
      xi[HALF + first + l] = signed_radius * (phi * sine);  // (14)
    }
  }
}

}  // namespace
