// Random numbers as a pure function of integers: (1)-(3) of counter.py, (1)-(4) of distributions.py, any stretch of any
// stream. Nothing is rounded that the reference does not round.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace streams {

constexpr int64_t LINE = 16;    // numbers; every part of a row is whole lines
constexpr int64_t MOST = 1024;  // numbers of one call
constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u, M1 = 0xBF58476D1CE4E5B9u, M2 = 0x94D049BB133111EBu;

inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * M1;  // (1)
  z = (z ^ (z >> 27)) * M2;  // (1)
  return z ^ (z >> 31);      // (1)
}

// The key of a pair, from the start of a parameter.
inline uint64_t key_of(int64_t start, int64_t pair) { return mix(uint64_t(pair) + uint64_t(start)); }  // (2)

#if defined(__GNUC__) && !defined(__clang__)
#define ONE_BY_ONE __attribute__((optimize("no-tree-vectorize")))
#else
#define ONE_BY_ONE
#endif

// Gather instructions are slower than loads.
ONE_BY_ONE inline void look_up(const uint16_t* bits, int64_t count, const float* quantiles, float* z) {
  for (int64_t i = 0; i < count; ++i) z[i] = quantiles[bits[i]];  // (1)
}

// Numbers first to first + count - 1 of the stream of a key; first and count are whole lines, count at most MOST.
inline void read(uint64_t key, int64_t first, int64_t count, int distribution, const float* quantiles, float* z) {
  if (distribution == 2) {
    for (int64_t i = 0; i < count; i += LINE) {
      uint64_t word = mix(key + (uint64_t(first + i) / 64 + 1) * GAMMA) >> (first + i) % 64;  // (3)
      for (int64_t b = 0; b < LINE; ++b) z[i + b] = float(int(word >> b & 1) * 2 - 1);        // (4)
    }
    return;
  }
  uint64_t words[MOST / 4];
  uint16_t bits[MOST];
  uint64_t j = uint64_t(first) / 4 + 1;
  for (int64_t i = 0; i < count / 4; ++i) words[i] = mix(key + (j + uint64_t(i)) * GAMMA);  // (3)
  std::memcpy(bits, words, sizeof(uint16_t) * count);
  if (distribution == 0) {
    look_up(bits, count, quantiles, z);
  } else {
    const float unit = float(std::sqrt(12.0 / 4294967295.0));
    for (int64_t i = 0; i < count; ++i) z[i] = (float(int16_t(bits[i])) + 0.5f) * unit;  // (3)
  }
}

}  // namespace streams
