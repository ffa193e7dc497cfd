// The numbers of a block of pairs, all parameters at once: equations (1)-(3) of counter.py, (1)-(4) of distributions.py,
// scaled and mirrored as perturbation.py does. Nothing is rounded that the reference does not round.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t LINE = 16;  // numbers; every part of a row is whole lines
constexpr int64_t BLOCK = 1024;
constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u, M1 = 0xBF58476D1CE4E5B9u, M2 = 0x94D049BB133111EBu;

struct Part {  // one row of the table that Python fills
  int64_t parameter, first, column, count, scaled;
};

inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * M1;  // (1)
  z = (z ^ (z >> 27)) * M2;  // (1)
  return z ^ (z >> 31);      // (1)
}

#if defined(__GNUC__) && !defined(__clang__)
#define ONE_BY_ONE __attribute__((optimize("no-tree-vectorize")))
#else
#define ONE_BY_ONE
#endif

// Gather instructions are slower than loads.
ONE_BY_ONE void look_up(const uint16_t* bits, int64_t count, const float* quantiles, float* z) {
  for (int64_t i = 0; i < count; ++i) z[i] = quantiles[bits[i]];  // (1)
}

// Numbers first to first + count - 1 of the stream of a key; first and count are whole lines, count at most BLOCK.
void read(uint64_t key, int64_t first, int64_t count, int distribution, const float* quantiles, float* z) {
  if (distribution == 2) {
    for (int64_t i = 0; i < count; i += LINE) {
      uint64_t word = mix(key + (uint64_t(first + i) / 64 + 1) * GAMMA) >> (first + i) % 64;  // (3)
      for (int64_t b = 0; b < LINE; ++b) z[i + b] = float(int(word >> b & 1) * 2 - 1);        // (4)
    }
    return;
  }
  uint64_t words[BLOCK / 4];
  uint16_t bits[BLOCK];
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

struct Bfloat16 {
  uint16_t bits;
};

inline void put(float* out, float value) { *out = value; }
inline void put(double* out, double value) { *out = value; }
inline void put(Bfloat16* out, float value) {  // to nearest, ties to even; the numbers are finite
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  out->bits = uint16_t((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

template <class T, class C>
void fill(T* out, int64_t stride, const int64_t* starts, const int64_t* pairs, int64_t pair_count, const Part* parts,
          int64_t part_count, const double* scales, const C* weights, int mirrored, int distribution,
          const float* quantiles, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t k = 0; k < pair_count; ++k) {
    alignas(64) float z[BLOCK];
    T* plus = out + (mirrored ? 2 * k : k) * stride;
    T* minus = plus + stride;
    for (const Part* part = parts; part < parts + part_count; ++part) {
      uint64_t key = mix(uint64_t(pairs[k]) + uint64_t(starts[part->parameter]));  // (2)
      C scale = part->scaled ? C(scales[part->parameter]) : C(1);
      if (part->scaled && weights) scale *= weights[k];
      for (int64_t at = 0; at < part->count; at += BLOCK) {
        int64_t count = part->count - at < BLOCK ? part->count - at : BLOCK, column = part->column + at;
        read(key, part->first + at, count, distribution, quantiles, z);
        for (int64_t i = 0; i < count; ++i) put(plus + column + i, C(z[i]) * scale);
        if (!mirrored) continue;
        C turned = part->scaled ? -scale : scale;
        for (int64_t i = 0; i < count; ++i) put(minus + column + i, C(z[i]) * turned);
      }
    }
  }
}

}  // namespace

extern "C" void torcheggroll_fill(void* out, int dtype, int64_t stride, const int64_t* starts, const int64_t* pairs,
                                  int64_t pair_count, const void* parts, int64_t part_count, const double* scales,
                                  const void* weights, int mirrored, int distribution, const float* quantiles,
                                  int threads) {
  auto table = static_cast<const Part*>(parts);
  if (dtype == 0)
    fill(static_cast<float*>(out), stride, starts, pairs, pair_count, table, part_count, scales,
         static_cast<const float*>(weights), mirrored, distribution, quantiles, threads);
  else if (dtype == 1)
    fill(static_cast<double*>(out), stride, starts, pairs, pair_count, table, part_count, scales,
         static_cast<const double*>(weights), mirrored, distribution, quantiles, threads);
  else
    fill(static_cast<Bfloat16*>(out), stride, starts, pairs, pair_count, table, part_count, scales,
         static_cast<const float*>(weights), mirrored, distribution, quantiles, threads);
}
