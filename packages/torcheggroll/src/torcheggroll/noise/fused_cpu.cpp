// The numbers of a block of pairs, all parameters at once, scaled and mirrored as perturbation.py does.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "streams.h"

namespace {

struct Part {  // one row of the table that Python fills
  int64_t parameter, first, column, count, scaled;
};

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
    alignas(64) float z[streams::MOST];
    T* plus = out + (mirrored ? 2 * k : k) * stride;
    T* minus = plus + stride;
    for (const Part* part = parts; part < parts + part_count; ++part) {
      uint64_t key = streams::key_of(starts[part->parameter], pairs[k]);
      C scale = part->scaled ? C(scales[part->parameter]) : C(1);
      if (part->scaled && weights) scale *= weights[k];
      for (int64_t at = 0; at < part->count; at += streams::MOST) {
        int64_t count = std::min(part->count - at, streams::MOST), column = part->column + at;
        streams::read(key, part->first + at, count, distribution, quantiles, z);
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
