// The products of linear.py on the CPU: t = x B; y = base + t Aᵀ + σe; and y = x Wᵀ + t Aᵀ + b + σe with the large one
// inside. A row is summed in the same order whatever rows are beside it.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int BYTES = 64, TILE = 12;  // TILE rows by two vectors of sums are as many as there are registers for
#else
constexpr int BYTES = 32, TILE = 6;
#endif
constexpr int64_t DEPTH = 512, COLUMNS = 256;  // of a block of W, which stays in a core's cache
constexpr int64_t BLOCK = 48;                  // rows whose x stays there from one block of W to the next
constexpr int64_t APART = DEPTH + 16;          // between the rows of a tile, which would otherwise share cache sets

template <class T>
struct Lanes {
  static constexpr int64_t COUNT = BYTES / int64_t(sizeof(T));
  typedef T Vector __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
};

// The sum of a vector's lanes, by halves.
template <class T, int SIZE>
inline T total(const void* vector) {
  if constexpr (SIZE == sizeof(T)) {
    return *static_cast<const T*>(vector);
  } else {
    typedef T Half __attribute__((vector_size(SIZE / 2), aligned(sizeof(T)), may_alias));
    Half sum = static_cast<const Half*>(vector)[0] + static_cast<const Half*>(vector)[1];
    return total<T, SIZE / 2>(&sum);
  }
}

template <class T, int ROWS, int RANKS>
void dots(const T* x, int64_t x_stride, const T* right, int64_t right_stride, int64_t n, T* t, int64_t t_stride, bool more) {
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
      T sum = total<T, BYTES>(&sums[i][k]);
      for (int64_t rest = c; rest < n; ++rest) sum += x[i * x_stride + rest] * right[k * right_stride + rest];
      t[i * t_stride + k] = more ? t[i * t_stride + k] + sum : sum;
    }
}

template <class T, int ROWS>
void dots_of(const T* x, int64_t x_stride, const T* right, int64_t right_stride, int64_t n, int64_t rank, T* t, bool more) {
  for (int64_t k = 0; k < rank; k += 4) {
    const T* b = right + k * right_stride;
    switch (rank - k) {
      case 1: dots<T, ROWS, 1>(x, x_stride, b, right_stride, n, t + k, rank, more); break;
      case 2: dots<T, ROWS, 2>(x, x_stride, b, right_stride, n, t + k, rank, more); break;
      case 3: dots<T, ROWS, 3>(x, x_stride, b, right_stride, n, t + k, rank, more); break;
      default: dots<T, ROWS, 4>(x, x_stride, b, right_stride, n, t + k, rank, more);
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
      dots_of<T, 4>(x + m * member_stride + i * row_stride, row_stride, own, right_rank, n, rank, t + (m * rows + i) * rank, false);
    for (; i < rows; ++i)
      dots_of<T, 1>(x + m * member_stride + i * row_stride, row_stride, own, right_rank, n, rank, t + (m * rows + i) * rank, false);
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

template <class T>
struct Layer {
  const T *x, *weight;  // rows of n numbers; W
  int64_t x_row, weight_row, weight_column;
  int64_t rows, each, n, m, rank;  // each: rows of one member
  const T *left, *right, *bias, *delta;
  int64_t left_member, left_rank, right_member, right_rank, delta_member;
  T *t, *packed, *y;
};

// Panels of as many columns of Wᵀ as a tile has, one row of numbers behind the other.
template <class T>
void pack(const Layer<T>& l, int threads) {
  constexpr int64_t N = 2 * Lanes<T>::COUNT, K = 16, J = 8;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t c = 0; c < l.m; c += N) {
    T* panel = l.packed + c * l.n;
    for (int64_t j = 0; j < N; j += J)
      for (int64_t k = 0; k < l.n; k += K) {
        const T* w = l.weight + (c + j) * l.weight_row + k * l.weight_column;
        int64_t deep = std::min(K, l.n - k), wide = std::min(J, l.m - c - j);
        T square[K][J] = {};
        if (deep == K && wide == J)
          for (int64_t a = 0; a < J; ++a)
            for (int64_t b = 0; b < K; ++b) square[b][a] = w[a * l.weight_row + b * l.weight_column];
        else
          for (int64_t a = 0; a < wide; ++a)
            for (int64_t b = 0; b < deep; ++b) square[b][a] = w[a * l.weight_row + b * l.weight_column];
        for (int64_t b = 0; b < deep; ++b) std::memcpy(panel + (k + b) * N + j, square[b], sizeof(square[b]));
      }
  }
}

// One row: where its x is, what its sums still lack, t Aᵀ + b + σe, and where they go.
template <class T>
struct Row {
  const T *x, *right, *left, *delta;
  T *t, *y;

  void begin(const Layer<T>& l, int64_t row) {
    int64_t member = row / l.each;
    x = l.x + row * l.x_row;
    right = l.right + member * l.right_member;
    left = l.left + member * l.left_member;
    delta = l.delta ? l.delta + member * l.delta_member : nullptr;
    t = l.t + row * l.rank;
    y = l.y + row * l.m;
  }

  template <class V>
  V added(const Layer<T>& l, V sum, int64_t c) const {
    if (l.bias) sum += *reinterpret_cast<const V*>(l.bias + c);
    if (delta) sum += *reinterpret_cast<const V*>(delta + c);
    for (int64_t k = 0; k < l.rank; ++k) sum += t[k] * *reinterpret_cast<const V*>(left + k * l.left_rank + c);
    return sum;
  }
};

template <class T, int ROWS, int WIDE>
void tile(const Layer<T>& l, const Row<T>* rows, const T* x, int64_t depth, const T* panel, int64_t c, bool begin, bool end) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t L = Lanes<T>::COUNT;
  V sums[ROWS][WIDE] = {};
  for (int64_t k = 0; k < depth; ++k, panel += 2 * L) {
    V w[WIDE];
    for (int j = 0; j < WIDE; ++j) w[j] = *reinterpret_cast<const V*>(panel + j * L);
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < WIDE; ++j) sums[i][j] += x[i * APART + k] * w[j];
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < WIDE; ++j) {
      int64_t at = c + j * L, own = std::min(L, l.m - at);
      T* y = rows[i].y + at;
      if (own == L) {
        V sum = begin ? sums[i][j] : *reinterpret_cast<const V*>(y) + sums[i][j];
        *reinterpret_cast<V*>(y) = end ? rows[i].template added<V>(l, sum, at) : sum;
      } else
        for (int64_t o = 0; o < own; ++o) {
          T sum = begin ? sums[i][j][o] : y[o] + sums[i][j][o];
          y[o] = end ? rows[i].template added<T>(l, sum, at + o) : sum;
        }
    }
}

// ROWS rows and one block of W; t is summed while the first columns are.
template <class T, int ROWS>
void strip(const Layer<T>& l, int64_t row, int64_t first, int64_t last, int64_t k, int64_t depth) {
  constexpr int64_t L = Lanes<T>::COUNT, N = 2 * L, LINE = 64 / int64_t(sizeof(T));
  alignas(64) T x[ROWS * APART];
  Row<T> rows[ROWS];
  for (int i = 0; i < ROWS; ++i) {
    rows[i].begin(l, row + i);
    std::memcpy(x + i * APART, rows[i].x + k, sizeof(T) * depth);
  }
  bool begin = k == 0, end = k + depth == l.n;
  for (int i = 0; first == 0 && i < ROWS;) {
    bool alike = i + 4 <= ROWS && rows[i].right == rows[(i + 3) % ROWS].right;
    if (alike)
      dots_of<T, 4>(x + i * APART, APART, rows[i].right + k, l.right_rank, depth, l.rank, rows[i].t, !begin);
    else
      dots_of<T, 1>(x + i * APART, APART, rows[i].right + k, l.right_rank, depth, l.rank, rows[i].t, !begin);
    i += alike ? 4 : 1;
  }
  const T* next = l.x + (row + ROWS) * l.x_row + k;
  int64_t ahead = 0, lines = depth / LINE, share = first ? 0 : ROWS * lines * N / (last - first) + 1;
  for (int64_t c = first; c < last; c += N) {
    for (int64_t p = 0; p < share && ahead < ROWS * lines; ++p, ++ahead)
      __builtin_prefetch(next + ahead / lines * l.x_row + ahead % lines * LINE, 0, 2);
    const T* panel = l.packed + c * l.n + k * N;
    if (l.m - c > L)
      tile<T, ROWS, 2>(l, rows, x, depth, panel, c, begin, end);
    else
      tile<T, ROWS, 1>(l, rows, x, depth, panel, c, begin, end);
  }
}

template <class T>
void product(const Layer<T>& l, int threads) {
  pack(l, threads);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t top = 0; top < l.rows; top += BLOCK) {
    int64_t bottom = std::min(l.rows, top + BLOCK);
    for (int64_t c = 0; c < l.m; c += COLUMNS)
      for (int64_t k = 0; k < l.n; k += DEPTH) {
        int64_t last = std::min(l.m, c + COLUMNS), depth = std::min(DEPTH, l.n - k), i = top;
        for (; i + TILE <= bottom; i += TILE) strip<T, TILE>(l, i, c, last, k, depth);
        for (; i + 4 <= bottom; i += 4) strip<T, 4>(l, i, c, last, k, depth);
        for (; i < bottom; ++i) strip<T, 1>(l, i, c, last, k, depth);
      }
  }
}

}  // namespace

extern "C" void torcheggroll_product(int wide, const void* layer, int threads) {
  if (wide)
    product(*static_cast<const Layer<double>*>(layer), threads);
  else
    product(*static_cast<const Layer<float>*>(layer), threads);
}

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
