// One step of RAdam and Lookahead for many tensors on the CPU: one pass over memory, the pullback inside it.
//
// Equations (1) to (12) as numbered in _lookahead.py and _radam.py. Low-precision parameters compute in float32 and are
// rounded once. Threads come from torch's own pool.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <torch/library.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace {

constexpr int64_t CHUNK = 16384;  // elements that one thread takes at a time
constexpr int64_t GRAIN = 32768;  // below this many elements in all, one thread does the work

enum Momentum { KEEP, RESET, PULLBACK };

struct Numbers {
  double lr, beta1, beta2, epsilon, weight_decay, alpha, inverse_scale;
  int64_t k, momentum;
  bool decoupled, maximize;
};

// What the step count decides.
struct Correction {
  double step, bias1, scale;  // scale: r √(1 - β2^t)
  bool rectified, due;
};

struct Job {
  void *theta, *m, *v, *phi, *mu;
  const void* g;
  int64_t length;
  at::ScalarType dtype;
  Correction c;
};

Correction correction(double t, const Numbers& n) {
  const double decay2 = std::pow(n.beta2, t), bias2 = 1 - decay2;
  const double rho_inf = 2 / (1 - n.beta2) - 1;                // (7)
  const double rho = rho_inf - 2 * t * decay2 / bias2;         // (8)
  Correction c{t, 1 - std::pow(n.beta1, t), 1.0, rho > 5, std::fmod(t, double(n.k)) == 0};
  if (c.rectified)
    c.scale = std::sqrt(bias2) *
        std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));  // (9)
  return c;
}

template <typename C>
inline C between(C from, C to, C weight) {  // as torch.lerp: exact at 0 and at 1
  return weight < C(0.5) ? from + weight * (to - from) : to - (to - from) * (C(1) - weight);
}

// MODE: -1 where no pullback is due, else what happens to the momentum.
template <typename T, typename C, bool RECTIFIED, int MODE>
void advance(const Job& job, const Numbers& n, int64_t begin, int64_t end) {
  T* __restrict theta = static_cast<T*>(job.theta);
  T* __restrict m = static_cast<T*>(job.m);
  T* __restrict v = static_cast<T*>(job.v);
  T* __restrict phi = static_cast<T*>(job.phi);
  T* __restrict mu = static_cast<T*>(job.mu);
  const T* __restrict g = static_cast<const T*>(job.g);
  const C sign = C((n.maximize ? -1 : 1) * n.inverse_scale), coupled = n.decoupled ? C(0) : C(n.weight_decay);
  const C kept = n.decoupled ? C(1 - n.lr * n.weight_decay) : C(1);
  const C beta1 = C(n.beta1), beta2 = C(n.beta2), new1 = C(1 - n.beta1), new2 = C(1 - n.beta2);
  const C move = C(n.lr / job.c.bias1 * job.c.scale), epsilon = C(n.epsilon), alpha = C(n.alpha);
  const bool adds_decay = coupled != C(0);
  for (int64_t i = begin; i < end; i++) {
    C x = C(theta[i]), gradient = C(g[i]) * sign;
    if (adds_decay) gradient += coupled * x;
    x *= kept;                                                  // (4)
    C first = beta1 * C(m[i]) + new1 * gradient;                // (5)
    C second = beta2 * C(v[i]) + new2 * (gradient * gradient);  // (6)
    x -= RECTIFIED ? move * first / (std::sqrt(second) + epsilon) : move * first;  // (10), (11), (12)
    if constexpr (MODE >= 0) {
      x = between(C(phi[i]), x, alpha);  // (1)
      phi[i] = T(x);
      if constexpr (MODE == RESET) first = C(0);
      if constexpr (MODE == PULLBACK) {
        first = between(C(mu[i]), first, alpha);  // (3)
        mu[i] = T(first);
      }
    }
    theta[i] = T(x);  // (2)
    m[i] = T(first);
    v[i] = T(second);
  }
}

template <typename T, typename C, bool RECTIFIED>
void choose_mode(const Job& job, const Numbers& n, int64_t begin, int64_t end) {
  if (!job.c.due) return advance<T, C, RECTIFIED, -1>(job, n, begin, end);
  if (n.momentum == RESET) return advance<T, C, RECTIFIED, RESET>(job, n, begin, end);
  if (n.momentum == PULLBACK) return advance<T, C, RECTIFIED, PULLBACK>(job, n, begin, end);
  return advance<T, C, RECTIFIED, KEEP>(job, n, begin, end);
}

template <typename T, typename C>
void choose_rectified(const Job& job, const Numbers& n, int64_t begin, int64_t end) {
  if (job.c.rectified) return choose_mode<T, C, true>(job, n, begin, end);
  return choose_mode<T, C, false>(job, n, begin, end);
}

void choose_dtype(const Job& job, const Numbers& n, int64_t begin, int64_t end) {
  switch (job.dtype) {
    case at::kDouble: return choose_rectified<double, double>(job, n, begin, end);
    case at::kBFloat16: return choose_rectified<at::BFloat16, float>(job, n, begin, end);
    case at::kHalf: return choose_rectified<at::Half, float>(job, n, begin, end);
    default: return choose_rectified<float, float>(job, n, begin, end);
  }
}

bool supported(at::ScalarType t) {
  return t == at::kFloat || t == at::kDouble || t == at::kBFloat16 || t == at::kHalf;
}

// Whether one index walks both tensors alike.
bool alike(const at::Tensor& a, const at::Tensor& b) {
  return b.device().is_cpu() && b.scalar_type() == a.scalar_type() && b.sizes() == a.sizes() &&
      b.strides() == a.strides();
}

bool countable(const at::Tensor& step) {
  return step.device().is_cpu() && step.numel() == 1 && (step.scalar_type() == at::kFloat || step.scalar_type() == at::kDouble);
}

double read(const at::Tensor& one) {
  TORCH_CHECK(one.device().is_cpu() && one.numel() == 1, "a tensor of one element on the CPU was wanted");
  if (one.scalar_type() == at::kDouble) return *static_cast<const double*>(one.const_data_ptr());
  if (one.scalar_type() == at::kFloat) return *static_cast<const float*>(one.const_data_ptr());
  return one.item<double>();
}

double advance_step(const at::Tensor& step) {
  if (step.scalar_type() == at::kDouble) return *static_cast<double*>(step.data_ptr()) += 1;
  return *static_cast<float*>(step.data_ptr()) += 1;
}

void touched(const at::Tensor& t) { t.unsafeGetTensorImpl()->bump_version(); }

void run(const std::vector<Job>& jobs, const Numbers& n) {
  struct Part { const Job* job; int64_t begin; };
  std::vector<Part> parts;
  int64_t total = 0;
  for (const Job& job : jobs) {
    total += job.length;
    for (int64_t begin = 0; begin < job.length; begin += CHUNK) parts.push_back({&job, begin});
  }
  const int64_t count = int64_t(parts.size());
  const int64_t grain = total <= GRAIN ? count + 1 : std::max<int64_t>(1, count * GRAIN / total);
  at::parallel_for(0, count, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++)
      choose_dtype(*parts[i].job, n, parts[i].begin, std::min(parts[i].begin + CHUNK, parts[i].job->length));
  });
}

// Steps every parameter it can and returns the places of the others, untouched. numbers: lr, β1, β2, ε, λ, α; flags: k,
// momentum, decoupled, maximize.
std::vector<int64_t> step_(
    at::TensorList theta, at::TensorList g, at::TensorList m, at::TensorList v, at::TensorList step, at::TensorList phi,
    at::TensorList mu, const std::optional<at::Tensor>& lr, const std::optional<at::Tensor>& grad_scale,
    const std::optional<at::Tensor>& found_inf, at::ArrayRef<double> numbers, at::IntArrayRef flags) {
  std::vector<int64_t> left;
  if (found_inf.has_value() && read(*found_inf) != 0) return left;
  Numbers n{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], 1.0,
            flags[0], flags[1], flags[2] != 0, flags[3] != 0};
  if (lr.has_value()) n.lr = read(*lr);
  if (grad_scale.has_value()) n.inverse_scale = 1 / read(*grad_scale);
  std::vector<Job> jobs;
  jobs.reserve(theta.size());
  Correction c{-1, 0, 0, false, false};
  for (size_t i = 0; i < theta.size(); i++) {
    const at::Tensor& x = theta[i];
    const bool pulls = n.momentum == PULLBACK;
    if (!supported(x.scalar_type()) || !x.is_non_overlapping_and_dense() || !alike(x, g[i]) || !alike(x, m[i]) ||
        !alike(x, v[i]) || !alike(x, phi[i]) || (pulls && !alike(x, mu[i])) || !countable(step[i])) {
      left.push_back(int64_t(i));
      continue;
    }
    const double t = advance_step(step[i]);
    if (t != c.step) c = correction(t, n);
    jobs.push_back({x.data_ptr(), m[i].data_ptr(), v[i].data_ptr(), phi[i].data_ptr(),
                    pulls ? mu[i].data_ptr() : nullptr, g[i].const_data_ptr(), x.numel(), x.scalar_type(), c});
    for (const at::Tensor* written : {&x, &m[i], &v[i], &step[i]}) touched(*written);
    if (c.due) touched(phi[i]);
    if (c.due && pulls) touched(mu[i]);
  }
  run(jobs, n);
  return left;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(rangerlite, library) {
  library.def(
      "step_(Tensor(a!)[] theta, Tensor[] g, Tensor(b!)[] m, Tensor(c!)[] v, Tensor(d!)[] step, Tensor(e!)[] phi, "
      "Tensor(f!)[] mu, Tensor? lr, Tensor? grad_scale, Tensor? found_inf, float[] numbers, int[] flags) -> int[]");
}

TORCH_LIBRARY_IMPL(rangerlite, CPU, library) { library.impl("step_", step_); }
