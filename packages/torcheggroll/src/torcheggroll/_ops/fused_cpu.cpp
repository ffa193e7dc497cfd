// The products of linear.py on the CPU: t = x B; y = base + t Aᵀ + σe; and y = x Wᵀ + t Aᵀ + b + σe with the large one
// inside. A row is summed in the same order whatever rows are beside it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../noise/streams.h"

namespace {

#ifdef __AVX512F__
constexpr int BYTES = 64, TILE = 12;  // TILE rows by two vectors of sums are as many as there are registers for
#else
constexpr int BYTES = 32, TILE = 6;
#endif
constexpr int64_t DEPTH = 512;                 // of a tile's x, which stays in a core's first cache
constexpr int64_t SPAN = 1024, COLUMNS = 512;  // of a block of W, which all rows pass before the next
constexpr int64_t BLOCK = 48, FEW = 16;        // rows that pass a stretch of W before the next, if a member has not few
constexpr int64_t APART = DEPTH + 16;          // between the rows of a tile, which would otherwise share cache sets
constexpr int64_t DRAWN = 4;                   // the largest rank whose factors are drawn here

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

// The streams that factors are drawn from where they are needed, and not given.
struct Source {
  const int64_t *start, *pairs;
  const float *signs, *quantiles;
  const double* scale;
  int64_t mirrored, distribution, right;  // right: where B begins in a stream

  uint64_t key(int64_t member) const { return streams::key_of(*start, pairs[pair(member)]); }
  int64_t pair(int64_t member) const { return mirrored ? member / 2 : member; }
  float sign(int64_t member) const { return mirrored ? (member % 2 ? -1.0f : 1.0f) : signs ? signs[member] : 1.0f; }

  // Writes numbers first to first + count - 1, times factor.
  template <class T>
  void draw(uint64_t key, int64_t first, int64_t count, T factor, T* out) const {
    alignas(64) float z[streams::MOST];
    for (int64_t at = first / streams::LINE * streams::LINE; at < first + count; at += streams::MOST) {
      int64_t whole = (first + count - at + streams::LINE - 1) / streams::LINE * streams::LINE;
      int64_t size = std::min(whole, streams::MOST), last = std::min(first + count, at + size);
      streams::read(key, at, size, int(distribution), quantiles, z);
      for (int64_t i = std::max(first, at); i < last; ++i) out[i - first] = T(z[i - at]) * factor;
    }
  }
};

template <class T>
struct Layer {
  const T *x, *weight;  // rows of n numbers; W
  int64_t x_row, weight_row, weight_column;
  int64_t rows, each, n, m, rank;  // each: rows of one member
  const T *left, *right, *bias, *delta;
  int64_t left_member, left_rank, right_member, right_rank, delta_member;
  T *t, *packed, *y;
  const Source* source;  // in the place of left and right
};

// A block of Wᵀ: where it begins, how large it is.
struct Block {
  int64_t column, columns, depth, deep;
};

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Indices{__VA_ARGS__})
#endif

// Writes four rows of four numbers as columns.
template <class T>
inline void turn(const T* rows, int64_t row, T* out, int64_t out_row) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index;
  typedef Index Indices __attribute__((vector_size(4 * sizeof(T)), unused));
  Four r[4], o[4];
  for (int i = 0; i < 4; ++i) r[i] = *reinterpret_cast<const Four*>(rows + i * row);
  Four a = SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = SHUFFLE(r[2], r[3], 0, 4, 1, 5);
  Four c = SHUFFLE(r[0], r[1], 2, 6, 3, 7), d = SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  o[0] = SHUFFLE(a, b, 0, 1, 4, 5);
  o[1] = SHUFFLE(a, b, 2, 3, 6, 7);
  o[2] = SHUFFLE(c, d, 0, 1, 4, 5);
  o[3] = SHUFFLE(c, d, 2, 3, 6, 7);
  for (int i = 0; i < 4; ++i) *reinterpret_cast<Four*>(out + i * out_row) = o[i];
}

// Panels of as many columns of the block as a tile has, one row of numbers behind the other.
template <class T>
void pack(const Layer<T>& l, const Block& block) {
  constexpr int64_t N = 2 * Lanes<T>::COUNT, K = 64, J = 4;
#pragma omp for schedule(static)
  for (int64_t c = 0; c < block.columns; c += N)
    for (int64_t k = 0; k < block.deep; k += K)
      for (int64_t j = 0; j < N; j += J) {
        const T* w = l.weight + (block.column + c + j) * l.weight_row + (block.depth + k) * l.weight_column;
        T* panel = l.packed + c * block.deep + k * N + j;
        int64_t deep = std::min(K, block.deep - k), wide = std::min(J, block.columns - c - j), b = 0;
        if (wide == J && l.weight_column == 1)
          for (; b + 4 <= deep; b += 4) turn(w + b, l.weight_row, panel + b * N, N);
        for (; b < deep; ++b)
          for (int64_t a = 0; a < J; ++a) panel[b * N + a] = a < wide ? w[a * l.weight_row + b * l.weight_column] : T(0);
      }
}

// One row: where its x is, what its sums still lack, t Aᵀ + b + σe, and where they go.
template <class T>
struct Row {
  const T *x, *right, *left, *delta;
  int64_t left_rank, first;  // first: the column that left begins with
  T sign, *t, *y;

  void begin(const Layer<T>& l, int64_t row) {
    int64_t member = row / l.each;
    x = l.x + row * l.x_row;
    right = l.right + member * l.right_member;
    left = l.left + member * l.left_member;
    left_rank = l.left_rank;
    first = 0;
    sign = 1;
    delta = l.delta ? l.delta + member * l.delta_member : nullptr;
    t = l.t + row * l.rank;
    y = l.y + row * l.m;
  }

  template <class V>
  V added(const Layer<T>& l, V sum, int64_t c) const {
    if (l.bias) sum += *reinterpret_cast<const V*>(l.bias + c);
    if (delta) sum += *reinterpret_cast<const V*>(delta + c);
    for (int64_t k = 0; k < l.rank; ++k) sum += sign * t[k] * *reinterpret_cast<const V*>(left + k * left_rank + c - first);
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

// Adds a stretch of x B to t.
template <class T, int ROWS>
void dots_of(const Layer<T>& l, const Row<T>* rows, const T* x, int64_t k, int64_t depth) {
  for (int i = 0; i < ROWS;) {
    bool alike = i + 4 <= ROWS && rows[i].right == rows[(i + 3) % ROWS].right;
    if (alike)
      dots_of<T, 4>(x + i * APART, APART, rows[i].right + k, l.right_rank, depth, l.rank, rows[i].t, k > 0);
    else
      dots_of<T, 1>(x + i * APART, APART, rows[i].right + k, l.right_rank, depth, l.rank, rows[i].t, k > 0);
    i += alike ? 4 : 1;
  }
}

// The same with B drawn, once for the rows of a pair.
template <class T, int ROWS>
void drawn_dots_of(const Layer<T>& l, const Row<T>* rows, int64_t row, const T* x, int64_t k, int64_t depth) {
  alignas(64) T right[DRAWN * DEPTH];
  int64_t pair = -1;
  for (int i = 0; i < ROWS; ++i) {
    int64_t member = (row + i) / l.each;
    if (l.source->pair(member) != pair) {
      pair = l.source->pair(member);
      for (int64_t j = 0; j < l.rank; ++j)
        l.source->draw(l.source->key(member), l.source->right + j * l.n + k, depth, T(1), right + j * DEPTH);
    }
    dots_of<T, 1>(x + i * APART, APART, right, DEPTH, depth, l.rank, rows[i].t, k > 0);
  }
}

// Draws the columns of A that a block of W adds to.
template <class T, int ROWS>
void draw_left(const Layer<T>& l, const Block& block, Row<T>* rows, int64_t row, T* lefts) {
  int64_t pair = -1;
  for (int i = 0; i < ROWS; ++i) {
    int64_t member = (row + i) / l.each;
    if (l.source->pair(member) != pair) {
      lefts += pair < 0 ? 0 : l.rank * COLUMNS;
      pair = l.source->pair(member);
      for (int64_t j = 0; j < l.rank; ++j)
        l.source->draw(l.source->key(member), j * l.m + block.column, block.columns, T(*l.source->scale), lefts + j * COLUMNS);
    }
    rows[i].left = lefts;
    rows[i].left_rank = COLUMNS;
    rows[i].first = block.column;
    rows[i].sign = T(l.source->sign(member));
  }
}

// Asks for what comes next while there is arithmetic to do: x of the next rows, and factors where each row has its own.
template <class T, int ROWS>
struct Ahead {
  static constexpr int64_t LINE = 64 / int64_t(sizeof(T)), N = 2 * Lanes<T>::COUNT;
  const Layer<T>& l;
  const Row<T>* rows;
  int64_t k, column, lines, share, at = 0;
  bool left, right;

  Ahead(const Layer<T>& layer, const Block& block, const Row<T>* from, int64_t depth, int64_t count, bool end)
      : l(layer), rows(from), k(depth), column(block.column), lines(count / LINE),
        share(ROWS * lines * N / block.columns + 1) {
    bool apart = l.each == 1 && !l.source;
    left = apart && end;
    right = apart && column == 0;
  }

  void ask(int64_t c) {
    for (int64_t p = 0; p < share && at < ROWS * lines; ++p, ++at) {
      int64_t i = at / lines, n = k + at % lines * LINE;
      __builtin_prefetch(rows[i].x + ROWS * l.x_row + n, 0, 2);
      if (right) __builtin_prefetch(rows[i].right + ROWS * l.right_member + n, 0, 2);
    }
    for (int64_t i = 0; left && i < ROWS * N / LINE; ++i)
      __builtin_prefetch(rows[i % ROWS].left + column + c + N + i / ROWS * LINE, 0, 3);
  }
};

// ROWS rows and a stretch of a block of W; t is summed while the first columns are.
template <class T, int ROWS>
void strip(const Layer<T>& l, const Block& block, int64_t k, int64_t depth, int64_t row) {
  constexpr int64_t L = Lanes<T>::COUNT, N = 2 * L;
  alignas(64) T x[ROWS * APART], lefts[ROWS * DRAWN * COLUMNS];
  Row<T> rows[ROWS];
  for (int i = 0; i < ROWS; ++i) {
    rows[i].begin(l, row + i);
    std::memcpy(x + i * APART, rows[i].x + k, sizeof(T) * depth);
  }
  bool begin = k == 0, end = k + depth == l.n;
  if (block.column == 0 && l.source)
    drawn_dots_of<T, ROWS>(l, rows, row, x, k, depth);
  else if (block.column == 0)
    dots_of<T, ROWS>(l, rows, x, k, depth);
  if (end && l.source) draw_left<T, ROWS>(l, block, rows, row, lefts);
  Ahead<T, ROWS> ahead(l, block, rows, k, depth, end);
  for (int64_t c = 0; c < block.columns; c += N) {
    ahead.ask(c);
    const T* panel = l.packed + c * block.deep + (k - block.depth) * N;
    if (block.columns - c > L)
      tile<T, ROWS, 2>(l, rows, x, depth, panel, block.column + c, begin, end);
    else
      tile<T, ROWS, 1>(l, rows, x, depth, panel, block.column + c, begin, end);
  }
}

// All rows pass each block of W, some at a time each stretch of it.
template <class T>
void product(const Layer<T>& l, int threads) {
  int64_t together = l.each < FEW ? TILE : BLOCK;
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t c = 0; c < l.m; c += COLUMNS)
    for (int64_t d = 0; d < l.n; d += SPAN) {
      Block block{c, std::min(COLUMNS, l.m - c), d, std::min(SPAN, l.n - d)};
      pack(l, block);
#pragma omp for schedule(static)
      for (int64_t top = 0; top < l.rows; top += together)
        for (int64_t k = d; k < d + block.deep; k += DEPTH) {
          int64_t bottom = std::min(l.rows, top + together), depth = std::min(DEPTH, d + block.deep - k), i = top;
          for (; i + TILE <= bottom; i += TILE) strip<T, TILE>(l, block, k, depth, i);
          for (; i + TILE * 2 / 3 <= bottom; i += TILE * 2 / 3) strip<T, TILE * 2 / 3>(l, block, k, depth, i);
          for (; i + 4 <= bottom; i += 4) strip<T, 4>(l, block, k, depth, i);
          for (; i < bottom; ++i) strip<T, 1>(l, block, k, depth, i);
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
