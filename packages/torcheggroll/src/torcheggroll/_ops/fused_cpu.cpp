// The thin products of linear.py on the CPU, in one pass each: t = x B and y = base + t Aᵀ + b + σe.
// A row is summed in the same order whatever rows are beside it.

#include <cstdint>

namespace {

#ifdef __AVX512F__
constexpr int BYTES = 64;
#else
constexpr int BYTES = 32;
#endif

template <class T>
struct Lanes {
  static constexpr int64_t COUNT = BYTES / int64_t(sizeof(T));
  typedef T Vector __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
};

template <class T, int ROWS, int RANKS>
void dots(const T* x, int64_t x_stride, const T* right, int64_t right_stride, int64_t n, T* t, int64_t t_stride) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t L = Lanes<T>::COUNT;
  V sums[ROWS][RANKS] = {};
  int64_t c = 0;
  for (; c + L <= n; c += L) {
    V b[RANKS];
    for (int k = 0; k < RANKS; ++k) b[k] = *reinterpret_cast<const V*>(right + k * right_stride + c);
    for (int i = 0; i < ROWS; ++i) {
      V own = *reinterpret_cast<const V*>(x + i * x_stride + c);
      for (int k = 0; k < RANKS; ++k) sums[i][k] += own * b[k];
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int k = 0; k < RANKS; ++k) {
      T sum = 0;
      for (int64_t l = 0; l < L; ++l) sum += sums[i][k][l];
      for (int64_t rest = c; rest < n; ++rest) sum += x[i * x_stride + rest] * right[k * right_stride + rest];
      t[i * t_stride + k] = sum;
    }
}

template <class T, int ROWS>
void dots_of(const T* x, int64_t x_stride, const T* right, int64_t right_stride, int64_t n, int64_t rank, T* t) {
  for (int64_t k = 0; k < rank; k += 4) {
    const T* b = right + k * right_stride;
    switch (rank - k) {
      case 1: dots<T, ROWS, 1>(x, x_stride, b, right_stride, n, t + k, rank); break;
      case 2: dots<T, ROWS, 2>(x, x_stride, b, right_stride, n, t + k, rank); break;
      case 3: dots<T, ROWS, 3>(x, x_stride, b, right_stride, n, t + k, rank); break;
      default: dots<T, ROWS, 4>(x, x_stride, b, right_stride, n, t + k, rank);
    }
  }
}

template <class T>
void thin(const T* x, int64_t member_stride, int64_t row_stride, const T* right, int64_t right_member,
          int64_t right_rank, T* t, int64_t members, int64_t rows, int64_t n, int64_t rank, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t m = 0; m < members; ++m) {
    const T* own = right + m * right_member;
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4)
      dots_of<T, 4>(x + m * member_stride + i * row_stride, row_stride, own, right_rank, n, rank, t + (m * rows + i) * rank);
    for (; i < rows; ++i)
      dots_of<T, 1>(x + m * member_stride + i * row_stride, row_stride, own, right_rank, n, rank, t + (m * rows + i) * rank);
  }
}

template <class T, int ROWS>
void onto(const T* base, T* y, int64_t m, const T* t, int64_t rank, const T* left, int64_t left_rank, const T* shift) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t L = Lanes<T>::COUNT, WIDE = 2;
  int64_t c = 0;
  for (; c + WIDE * L <= m; c += WIDE * L) {
    V sums[ROWS][WIDE];
    for (int i = 0; i < ROWS; ++i)
      for (int w = 0; w < WIDE; ++w) {
        sums[i][w] = *reinterpret_cast<const V*>(base + i * m + c + w * L);
        if (shift) sums[i][w] += *reinterpret_cast<const V*>(shift + c + w * L);
      }
    for (int64_t k = 0; k < rank; ++k) {
      V a[WIDE];
      for (int w = 0; w < WIDE; ++w) a[w] = *reinterpret_cast<const V*>(left + k * left_rank + c + w * L);
      for (int i = 0; i < ROWS; ++i)
        for (int w = 0; w < WIDE; ++w) sums[i][w] += t[i * rank + k] * a[w];
    }
    for (int i = 0; i < ROWS; ++i)
      for (int w = 0; w < WIDE; ++w) *reinterpret_cast<V*>(y + i * m + c + w * L) = sums[i][w];
  }
  for (; c < m; ++c)
    for (int i = 0; i < ROWS; ++i) {
      T sum = base[i * m + c];
      if (shift) sum += shift[c];
      for (int64_t k = 0; k < rank; ++k) sum += t[i * rank + k] * left[k * left_rank + c];
      y[i * m + c] = sum;
    }
}

template <class T>
void add(const T* base, int64_t base_member, T* y, const T* t, const T* left, int64_t left_member, int64_t left_rank, const T* shift,
         int64_t shift_member, int64_t members, int64_t rows, int64_t m, int64_t rank, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t j = 0; j < members; ++j) {
    const T* own = left + j * left_member;
    const T* moved = shift ? shift + j * shift_member : nullptr;
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4)
      onto<T, 4>(base + j * base_member + i * m, y + (j * rows + i) * m, m, t + (j * rows + i) * rank, rank, own, left_rank, moved);
    for (; i < rows; ++i)
      onto<T, 1>(base + j * base_member + i * m, y + (j * rows + i) * m, m, t + (j * rows + i) * rank, rank, own, left_rank, moved);
  }
}

}  // namespace

extern "C" void torcheggroll_thin(int wide, const void* x, int64_t member_stride, int64_t row_stride,
                                  const void* right, int64_t right_member, int64_t right_rank, void* t,
                                  int64_t members, int64_t rows, int64_t n, int64_t rank, int threads) {
  if (wide)
    thin(static_cast<const double*>(x), member_stride, row_stride, static_cast<const double*>(right), right_member,
         right_rank, static_cast<double*>(t), members, rows, n, rank, threads);
  else
    thin(static_cast<const float*>(x), member_stride, row_stride, static_cast<const float*>(right), right_member,
         right_rank, static_cast<float*>(t), members, rows, n, rank, threads);
}

extern "C" void torcheggroll_add(int wide, const void* base, int64_t base_member, void* y, const void* t,
                                 const void* left, int64_t left_member, int64_t left_rank, const void* shift,
                                 int64_t shift_member, int64_t members, int64_t rows, int64_t m, int64_t rank,
                                 int threads) {
  if (wide)
    add(static_cast<const double*>(base), base_member, static_cast<double*>(y), static_cast<const double*>(t),
        static_cast<const double*>(left), left_member, left_rank, static_cast<const double*>(shift), shift_member,
        members, rows, m, rank, threads);
  else
    add(static_cast<const float*>(base), base_member, static_cast<float*>(y), static_cast<const float*>(t),
        static_cast<const float*>(left), left_member, left_rank, static_cast<const float*>(shift), shift_member,
        members, rows, m, rank, threads);
}
