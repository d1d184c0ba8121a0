// Other memory-bound operations of a training step: gradients of word vectors, Adam for embeddings, and pooling.
// Compiled per instruction set like `recurrent.cpp`.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "recurrent.h"

namespace {

constexpr int64_t PIECE = 64;  // features per work item

// Flushes denormal numbers (below 1e-38) to zero in its lifetime: processors are a hundred times slower on them.
struct FlushTiny {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    FlushTiny() { _mm_setcsr(before | 0x8040); }
    ~FlushTiny() { _mm_setcsr(before); }
#endif
};

// values[row[n]] += gradient[n], in the order of the tokens; row -1: none.
template <class T> bool sum_rows(const RowSums& q) {
    auto piece = [&](int64_t number) {
        int64_t low = number * PIECE, size = std::min(PIECE, q.dim - low);
        for (int64_t row = 0; row < q.rows; row++) {
            T* to = static_cast<T*>(q.values) + row * q.dim + low;
            std::fill(to, to + size, T(0));
        }
        for (int64_t n = 0; n < q.tokens; n++) {
            if (q.row[n] < 0) continue;
            T* to = static_cast<T*>(q.values) + q.row[n] * q.dim + low;
            const T* from = static_cast<const T*>(q.gradient) + n * q.dim + low;
            for (int64_t k = 0; k < size; k++) to[k] += from[k];
        }
    };
    return seqtwin::parallel_for((q.dim + PIECE - 1) / PIECE, q.threads, piece);
}

// One step of Adam for a matrix with a gradient of few rows, equal to the dense step. A row that never had a gradient
// has zero moments and does not change, so it is skipped.
template <class T> bool adam_rows(const AdamRows& q) {
    constexpr int64_t BLOCK = 128;
    const T beta1 = T(q.beta1), beta2 = T(q.beta2), rest1 = T(1.0 - q.beta1), rest2 = T(1.0 - q.beta2);
    const T step_size = T(q.step_size), root_correction = T(q.root_correction), epsilon = T(q.epsilon);
    auto block = [&](int64_t number) {
        FlushTiny tiny;
        for (int64_t row = number * BLOCK; row < std::min(q.rows, (number + 1) * BLOCK); row++) {
            int32_t slot = q.slot[row];
            if (slot < 0 && !q.touched[row]) continue;
            T* weight = static_cast<T*>(q.weight) + row * q.dim;
            T* mean = static_cast<T*>(q.moment1) + row * q.dim;
            T* square = static_cast<T*>(q.moment2) + row * q.dim;
            if (slot >= 0) {
                q.touched[row] = 1;
                const T* gradient = static_cast<const T*>(q.gradient) + slot * q.dim;
                for (int64_t k = 0; k < q.dim; k++) {
                    mean[k] = beta1 * mean[k] + rest1 * gradient[k];
                    square[k] = beta2 * square[k] + rest2 * (gradient[k] * gradient[k]);
                }
            } else {
                for (int64_t k = 0; k < q.dim; k++) {
                    mean[k] = beta1 * mean[k];
                    square[k] = beta2 * square[k];
                }
            }
            for (int64_t k = 0; k < q.dim; k++)
                weight[k] -= step_size * mean[k] / (std::sqrt(square[k]) / root_correction + epsilon);
        }
    };
    return seqtwin::parallel_for((q.rows + BLOCK - 1) / BLOCK, q.threads, block);
}

// [B, L, F] -> [B, F] over the real tokens: the mean, or the maximum and its first position.
template <class T> bool pool(const Pooling& q) {
    int64_t pieces = (q.features + PIECE - 1) / PIECE;
    auto piece = [&](int64_t number) {
        int64_t b = number / pieces, low = number % pieces * PIECE, size = std::min(PIECE, q.features - low);
        const T* x = static_cast<const T*>(q.x) + b * q.width * q.features + low;
        T value[PIECE];
        std::copy(x, x + size, value);
        if (q.position) {
            int32_t position[PIECE] = {};
            for (int64_t t = 1; t < q.lengths[b]; t++) {
                const T* at = x + t * q.features;
                for (int64_t k = 0; k < size; k++) {
                    // NaN counts as larger than all numbers: a maximum must not hide it.
                    bool larger = !(at[k] <= value[k]) & (value[k] == value[k]);
                    value[k] = larger ? at[k] : value[k];
                    position[k] = larger ? int32_t(t) : position[k];
                }
            }
            std::copy(position, position + size, q.position + b * q.features + low);
        } else {
            for (int64_t t = 1; t < q.lengths[b]; t++)
                for (int64_t k = 0; k < size; k++) value[k] += x[t * q.features + k];
            for (int64_t k = 0; k < size; k++) value[k] /= T(q.lengths[b]);
        }
        std::copy(value, value + size, static_cast<T*>(q.pooled) + b * q.features + low);
    };
    return seqtwin::parallel_for(q.batch * pieces, q.threads, piece);
}

template <class T> bool unpool(const Pooling& q) {
    auto row = [&](int64_t b) {
        T* x = static_cast<T*>(q.d_x) + b * q.width * q.features;
        const T* pooled = static_cast<const T*>(q.d_pooled) + b * q.features;
        std::fill(x + (q.position ? 0 : q.lengths[b] * q.features), x + q.width * q.features, T(0));
        if (q.position) {
            for (int64_t k = 0; k < q.features; k++) x[q.position[b * q.features + k] * q.features + k] = pooled[k];
            return;
        }
        for (int64_t k = 0; k < q.features; k++) x[k] = pooled[k] / T(q.lengths[b]);
        for (int64_t t = 1; t < q.lengths[b]; t++) std::copy(x, x + q.features, x + t * q.features);
    };
    return seqtwin::parallel_for(q.batch, q.threads, row);
}

template <class T> TrainingBuild build_of() { return {sum_rows<T>, adam_rows<T>, pool<T>, unpool<T>}; }

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" TrainingBuild NAME(seqtwin_training_, TARGET)(bool float64) {
    return float64 ? build_of<double>() : build_of<float>();
}
