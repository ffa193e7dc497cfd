// A step of many carts and poles: equations (1)-(3) of reference.py, in the order of its ops and rounded where they round.

#include <cmath>
#include <cstdint>

namespace {

constexpr float FORCE = 10.0, GRAVITY = 9.8, TAU = 0.02, X_LIMIT = 2.4, START = 0.05 / 32768;
constexpr float ANGLE_LIMIT = 12 * 2 * 3.141592653589793 / 360;
constexpr double MASS_POLE = 0.1, MASS = 1.1, HALF = 0.5;
constexpr float INVERSE = 1 / MASS, LEVER = HALF * 4 / 3, SHARE = MASS_POLE * HALF / MASS, MOMENT = MASS_POLE * HALF;
constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u, M1 = 0xBF58476D1CE4E5B9u, M2 = 0x94D049BB133111EBu;

inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * M1;
  z = (z ^ (z >> 27)) * M2;
  return z ^ (z >> 31);
}

#if defined(__clang__)
#pragma clang fp contract(off)
#define ROUNDED
#else
#define ROUNDED __attribute__((optimize("fp-contract=off")))
#endif

// Rows x, v, θ, ω, of n worlds each.
ROUNDED void move(int64_t n, const int64_t* action, const float* sin, const float* cos, const float* __restrict row,
                  float* __restrict next) {
  const float *v = row + n, *theta = v + n, *omega = theta + n;
  for (int64_t i = 0; i < n; ++i) {
    float force = float(int(action[i]) * 2 - 1) * FORCE;
    float u = (omega[i] * omega[i] * sin[i] * MOMENT + force) * INVERSE;             // (1)
    float lever = cos[i] * cos[i] * -SHARE + LEVER;                                 // (2)
    float alpha = (sin[i] * GRAVITY - u * cos[i]) / lever;                          // (2)
    float a = u - alpha * cos[i] * SHARE;                                           // (2)
    next[i] = row[i] + v[i] * TAU, next[n + i] = v[i] + a * TAU;                    // (3)
    next[2 * n + i] = theta[i] + omega[i] * TAU, next[3 * n + i] = omega[i] + alpha * TAU;  // (3)
  }
}

}  // namespace

extern "C" void torcheggroll_cartpole(int64_t n, int64_t now, int64_t max_steps, const int64_t* action,
                                      const float* sin, const float* cos, const float* row, float* next,
                                      uint64_t* episodes, int64_t* end, float* seen, bool* terminated,
                                      bool* truncated) {
  move(n, action, sin, cos, row, next);
  for (int64_t i = 0; i < n; ++i) {
    terminated[i] = (std::fabs(next[i]) > X_LIMIT) | (std::fabs(next[2 * n + i]) > ANGLE_LIMIT);
    truncated[i] = (end[i] <= now) & !terminated[i];
  }
  for (int64_t i = 0; i < n; ++i) {
    if (terminated[i] | truncated[i]) {
      uint64_t word = mix(episodes[i] += GAMMA);
      for (int64_t k = 0; k < 4; ++k) next[k * n + i] = float(int16_t(word >> 16 * k)) * START;
      end[i] = now + max_steps;
    }
    for (int64_t k = 0; k < 4; ++k) seen[4 * i + k] = next[k * n + i];
  }
}
