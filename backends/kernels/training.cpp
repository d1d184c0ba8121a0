// Other memory-bound operations of a training step: dropout, word vectors and their gradients, Adam for embeddings,
// and pooling.
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

// A block of NumPy's Philox, four of its raw numbers as sixteen (Salmon et al. 2011: 4 x 64 bits, ten rounds).
void philox(uint64_t block, const uint64_t* key, uint16_t* to) {
    uint64_t a = block, b = 0, c = 0, d = 0, key_0 = key[0], key_1 = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned __int128 one = static_cast<unsigned __int128>(a) * 0xD2E7470EE14C6C93u;
        unsigned __int128 other = static_cast<unsigned __int128>(c) * 0xCA5A826395121157u;
        a = uint64_t(other >> 64) ^ b ^ key_0;
        b = uint64_t(other);
        c = uint64_t(one >> 64) ^ d ^ key_1;
        d = uint64_t(one);
        key_0 += 0x9E3779B97F4A7C15u;
        key_1 += 0xBB67AE8584CAA73Bu;
    }
    const uint64_t words[] = {a, b, c, d};
    std::memcpy(to, words, sizeof words);
}

// A function of its own, so that the compiler knows that bytes are no other memory, and uses vectors.
void not_below(int32_t least, const uint16_t* __restrict bits, uint8_t* __restrict keep, int64_t size) {
    for (int64_t k = 0; k < size; k++) keep[k] = bits[k] >= least;
}

// The mask of `dropout_mask` in core/rng.py: 16 bits of the stream for every unit.
bool dropout_mask(const DropoutMask& q) {
    constexpr int64_t BLOCKS = 64, UNITS = 16 * BLOCKS, ROUNDS = 16;  // of a round, which fits the first cache; of an item
    auto item = [&](int64_t number) {
        uint16_t bits[UNITS];
        int64_t end = std::min((number + 1) * ROUNDS * UNITS, q.size);
        for (int64_t first = number * ROUNDS * UNITS; first < end; first += UNITS) {
            // NumPy counts before it draws, so that the first block has the number 1.
            for (int64_t n = 0; n < BLOCKS; n++) philox(first / 16 + n + 1, q.key, bits + 16 * n);
            not_below(int32_t(q.least), bits, q.keep + first, std::min(UNITS, end - first));
        }
    };
    return seqtwin::parallel_for((q.size + ROUNDS * UNITS - 1) / (ROUNDS * UNITS), q.threads, item);
}

// vectors[n] = table[ids[row[n]]], with dropout; row -1: zeros.
template <class T> bool look_up_rows(const RowVectors& q) {
    constexpr int64_t TOKENS = 64;
    const T scale = T(q.scale);
    auto item = [&](int64_t number) {
        for (int64_t n = number * TOKENS; n < std::min(q.tokens, (number + 1) * TOKENS); n++) {
            T* to = static_cast<T*>(q.vectors) + n * q.stride;
            if (q.row[n] < 0) {
                std::fill(to, to + q.dim, T(0));
                continue;
            }
            const T* from = static_cast<const T*>(q.table) + q.ids[q.row[n]] * q.dim;
            if (q.keep) {
                const uint8_t* keep = q.keep + n * q.stride;
                for (int64_t k = 0; k < q.dim; k++) to[k] = from[k] * (T(keep[k]) * scale);
            } else {
                std::copy(from, from + q.dim, to);
            }
        }
    };
    return seqtwin::parallel_for((q.tokens + TOKENS - 1) / TOKENS, q.threads, item);
}

// values[row[n]] += the gradient of the row before dropout, in the order of the tokens; row -1: none.
template <class T> bool sum_rows(const RowVectors& q) {
    const T scale = T(q.scale);
    auto piece = [&](int64_t number) {
        int64_t low = number * PIECE, size = std::min(PIECE, q.dim - low);
        T scaled[PIECE];
        for (int64_t row = 0; row < q.rows; row++) {
            T* to = static_cast<T*>(q.values) + row * q.dim + low;
            std::fill(to, to + size, T(0));
        }
        for (int64_t n = 0; n < q.tokens; n++) {
            if (q.row[n] < 0) continue;
            T* to = static_cast<T*>(q.values) + q.row[n] * q.dim + low;
            const T* from = static_cast<const T*>(q.vectors) + n * q.stride + low;
            if (q.keep) {
                // In memory, as a compiler may round a product and a sum once.
                const uint8_t* keep = q.keep + n * q.stride + low;
                for (int64_t k = 0; k < size; k++) scaled[k] = from[k] * (T(keep[k]) * scale);
                from = scaled;
            }
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

// [B, L, F] -> [B, F] over the real tokens, in one pass: the maximum and its first position, the mean, or both.
template <class T> bool pool(const Pooling& q) {
    int64_t pieces = (q.features + PIECE - 1) / PIECE;
    auto piece = [&](int64_t number) {
        int64_t b = number / pieces, low = number % pieces * PIECE, size = std::min(PIECE, q.features - low);
        const T* x = static_cast<const T*>(q.x) + b * q.width * q.features + low;
        T value[PIECE], sum[PIECE];
        int32_t position[PIECE] = {};
        std::copy(x, x + size, value);
        std::copy(x, x + size, sum);
        for (int64_t t = 1; t < q.lengths[b]; t++) {
            const T* at = x + t * q.features;
            if (q.maximum)
                for (int64_t k = 0; k < size; k++) {
                    // NaN counts as larger than all numbers: a maximum must not hide it.
                    bool larger = !(at[k] <= value[k]) & (value[k] == value[k]);
                    value[k] = larger ? at[k] : value[k];
                    position[k] = larger ? int32_t(t) : position[k];
                }
            if (q.mean)
                for (int64_t k = 0; k < size; k++) sum[k] += at[k];
        }
        if (q.maximum) {
            std::copy(value, value + size, static_cast<T*>(q.maximum) + b * q.row + low);
            std::copy(position, position + size, q.position + b * q.features + low);
        }
        if (q.mean)
            for (int64_t k = 0; k < size; k++) static_cast<T*>(q.mean)[b * q.row + low + k] = sum[k] / T(q.lengths[b]);
    };
    return seqtwin::parallel_for(q.batch * pieces, q.threads, piece);
}

template <class T> bool unpool(const Pooling& q) {
    auto row = [&](int64_t b) {
        T* x = static_cast<T*>(q.x) + b * q.width * q.features;
        int64_t length = q.mean ? q.lengths[b] : 0;
        std::fill(x + length * q.features, x + q.width * q.features, T(0));
        if (q.mean) {
            const T* mean = static_cast<const T*>(q.mean) + b * q.row;
            for (int64_t k = 0; k < q.features; k++) x[k] = mean[k] / T(length);
            for (int64_t t = 1; t < length; t++) std::copy(x, x + q.features, x + t * q.features);
        }
        if (q.maximum) {
            const T* maximum = static_cast<const T*>(q.maximum) + b * q.row;
            const int32_t* position = q.position + b * q.features;
            for (int64_t k = 0; k < q.features; k++) x[position[k] * q.features + k] += maximum[k];
        }
    };
    return seqtwin::parallel_for(q.batch, q.threads, row);
}

// moved = plain + r at real tokens, with r = size * sqrt(n) * g / |g| for the gradient g of a text of n tokens.
template <class T> bool perturb(const Perturbation& q) {
    constexpr int64_t LANES = 16;
    auto text = [&](int64_t b) {
        int64_t first = b * q.width * q.features, count = q.lengths[b] * q.features, whole = q.width * q.features;
        const T* gradient = static_cast<const T*>(q.gradient) + first;
        const T* plain = static_cast<const T*>(q.plain) + first;
        T* moved = static_cast<T*>(q.moved) + first;
        double lanes[LANES] = {}, sum = 0.0;
        int64_t k = 0;
        for (; k + LANES <= count; k += LANES)
            for (int64_t n = 0; n < LANES; n++) lanes[n] += double(gradient[k + n]) * double(gradient[k + n]);
        for (; k < count; k++) lanes[k % LANES] += double(gradient[k]) * double(gradient[k]);
        for (double lane : lanes) sum += lane;
        const T factor = T(q.size * std::sqrt(double(q.lengths[b])) / (sum > 0.0 ? std::sqrt(sum) : 1.0));
        for (k = 0; k < count; k++) moved[k] = plain[k] + factor * gradient[k];
        std::copy(plain + count, plain + whole, moved + count);
    };
    return seqtwin::parallel_for(q.batch, q.threads, text);
}

template <class T> TrainingBuild build_of() {
    return {dropout_mask, look_up_rows<T>, sum_rows<T>, adam_rows<T>, pool<T>, unpool<T>, perturb<T>};
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" TrainingBuild NAME(seqtwin_training_, TARGET)(bool float64) {
    return float64 ? build_of<double>() : build_of<float>();
}
