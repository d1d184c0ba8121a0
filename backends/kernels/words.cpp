// word2vec with negative sampling: minibatch steps of SGD on two tables, and the noise words. Compiled per instruction
// set like `recurrent.cpp`; vectors have the same number of lanes in all builds.
//
// A step computes all slopes at the parameters before it, then updates the tables. Every row is updated by one thread,
// in the order of the predictions, so results do not depend on the number of threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <type_traits>
#include <vector>

#include "recurrent.h"
#include "vectors.h"



namespace {

using seqtwin::Buffer;

constexpr int64_t BLOCK = 64;        // predictions of a work item
constexpr int64_t GROUP = 8;         // predictions whose rows stay in the fastest cache
constexpr int64_t MOST_FACTORS = 512;  // each at most 2: their product stays below 2^1024

// Passes of one call, in order, over a team that grows as threads arrive. Each work item of a pass is taken once; all
// items are done before the next pass begins. A thread that comes late, or never, delays nothing.
struct Passes {
    struct alignas(64) Pass { std::atomic<int64_t> next{0}, done{0}; };
    std::vector<Pass> passes;
    explicit Passes(int64_t count) : passes(count) {}
    template <class F> void run(int64_t number, int64_t items, F& body) {
        Pass& pass = passes[number];
        for (int64_t item; (item = pass.next.fetch_add(1)) < items;) {
            body(item);
            pass.done.fetch_add(1, std::memory_order_release);
        }
        for (int64_t turn = 0; pass.done.load(std::memory_order_acquire) < items; turn++) {
            if (turn > 2000) std::this_thread::yield();
#if defined(__SSE__)
            else __builtin_ia32_pause();
#endif
        }
    }
};

// COLUMNS: vectors of a row, if it has no incomplete one, so that rows stay in registers; 0: any number.
template <class T, int COLUMNS> struct Words : Wide<T> {
    typedef Arithmetic<T> A;
    typedef typename A::V V;
    typedef Wide<T> W;
    using W::LANES, W::load, W::store, W::multiply_add;

    const WordSteps& q;
    const int64_t columns, padded, targets;   // vectors of a row, their lanes; 1 + K
    int64_t largest = 0;                      // predictions of a step
    const T *in, *out;
    T *in_to, *out_to;

    explicit Words(const WordSteps& problem)
        : q(problem), columns((q.dim + LANES - 1) / LANES), padded(columns * LANES), targets(1 + q.negatives),
          in(static_cast<const T*>(q.in)), out(static_cast<const T*>(q.out)), in_to(static_cast<T*>(q.in_to)),
          out_to(static_cast<T*>(q.out_to)) {
        for (int64_t s = 0; s < q.steps; s++) largest = std::max(largest, q.bounds[s + 1] - q.bounds[s]);
    }

    // Calls f(column, lanes) for every vector of a row; the last may have fewer lanes.
    template <class F> void each(F f) const {
        if constexpr (COLUMNS > 0) {
#pragma GCC unroll 16
            for (int c = 0; c < COLUMNS; c++) f(int64_t(c) * LANES, std::integral_constant<int64_t, LANES>());
            return;
        }
        int64_t whole = q.dim / LANES * LANES;
        for (int64_t k = 0; k < whole; k += LANES) f(k, int64_t(LANES));
        if (whole < q.dim) f(whole, q.dim - whole);
    }
    // The thread that owns a row: consecutive words, of similar frequency, go to different ones.
    static int64_t owner(int32_t row, int64_t owners) {
        return int64_t((uint64_t(uint32_t(row) * 2654435761u) * uint64_t(owners)) >> 32);
    }
    void prefetch(int64_t n) const {
        for (int64_t k = 0; k < targets; k++) {
            int32_t row = q.targets[n * targets + k];
            const char* at = reinterpret_cast<const char*>(out + std::max(row, 0) * q.dim);
            for (int64_t byte = 0; byte < int64_t(q.dim * sizeof(T)); byte += 64) __builtin_prefetch(at + byte);
        }
    }

    struct Step {
        int64_t low, high;   // its predictions
        T rate;
        T* hidden;           // [largest, padded]: means, of predictions with several input rows
        T* slope;            // [largest, 1 + K]: rate * dloss / dscore
        T* d_hidden;         // [largest, padded]: rate * dloss / dhidden, by slots
        int32_t* slot;       // [largest]: the slot of a prediction
        double* loss;        // of every block
    };
    const T* hidden_of(const Step& s, int64_t n) const {
        int64_t first = q.offsets[n];
        return q.offsets[n + 1] - first == 1 ? in + int64_t(q.inputs[first]) * q.dim : s.hidden + (n - s.low) * padded;
    }

    // Scores, losses, slopes and hidden gradients of one block, by groups whose rows stay in the fastest cache.
    void forward(const Step& s, int64_t block) const {
        int64_t low = s.low + block * BLOCK, high = std::min(low + BLOCK, s.high), factors = 0;
        double loss = 0.0, product = 1.0;
        for (int64_t n = low; n < std::min(low + GROUP, high); n++) prefetch(n);
        for (int64_t first = low; first < high; first += GROUP) {
            int64_t last = std::min(first + GROUP, high), size = (last - first) * targets;
            for (int64_t n = last; n < std::min(last + GROUP, high); n++) prefetch(n);
            for (int64_t n = first; n < last; n++) mean(s, n);
            T *slope = s.slope + (first - s.low) * targets, *raw = static_cast<T*>(q.scores);
            const int32_t* target = q.targets + first * targets;
            W sums[LANES];
            for (int64_t at = 0, n = first, k = 0, turn = 0; at < size; at += LANES) {
                int64_t lanes = std::min<int64_t>(LANES, size - at);
                for (int64_t lane = 0; lane < LANES; lane++) {
                    W even = {}, odd = {};
                    if (lane < lanes) {
                        const T *h = hidden_of(s, n), *row = out + std::max<int64_t>(target[at + lane], 0) * q.dim;
                        each([&](int64_t c, auto width) {
                            W& total = c / LANES % 2 ? odd : even;
                            total = multiply_add(total, load(h + c, width), load(row + c, width));
                        });
                        if (++k == targets) k = 0, n++;
                    }
                    sums[lane] = even + odd;
                }
                // Of the predicted words the negative scores: loss = softplus(x), slope = sigmoid(x) or -sigmoid(x).
                T x[LANES], sign[LANES], e[LANES], own[LANES];
                W::lane_sums(sums, x);
                for (int64_t lane = 0; lane < LANES; lane++) {
                    bool skipped = lane >= lanes || target[at + lane] < 0;
                    sign[lane] = skipped ? T(0) : turn == 0 ? T(-1) : T(1);
                    turn = turn + 1 == targets ? 0 : turn + 1;
                    if (raw && lane < lanes) raw[first * targets + at + lane] = skipped ? T(0) : x[lane];
                }
                for (int lane = 0; lane < LANES; lane += A::LANES) {
                    V factor = A::load(sign + lane), score = A::load(x + lane) * factor, scale, p;
                    V distance = score < T(0) ? -score : score;
                    A::split_exp(-(distance > A::C::SIGMOID_END ? A::all(A::C::SIGMOID_END) : distance), scale, p);
                    V small = scale * p + scale, one = T(1) / (T(1) + small);
                    A::store(own + lane, (score < T(0) ? small * one : one) * (factor * s.rate));
                    A::store(x + lane, score);
                    A::store(e + lane, small);
                }
                std::copy(own, own + lanes, slope + at);
                // softplus(x) = max(x, 0) + log(1 + e^-|x|): one logarithm for many factors.
                for (int64_t lane = 0; lane < lanes; lane++) {
                    if (sign[lane] == T(0)) continue;
                    loss += x[lane] < T(0) ? 0.0 : double(x[lane]);
                    product *= 1.0 + double(e[lane]);
                    if (++factors == MOST_FACTORS) loss += std::log(product), product = 1.0, factors = 0;
                }
            }
            for (int64_t n = first; n < last; n++, target += targets, slope += targets) {
                // Consecutive predictions from the same row share a slot.
                int64_t from = q.offsets[n], count = q.offsets[n + 1] - from;
                bool single = n > low && count == 1 && from - q.offsets[n - 1] == 1;
                bool shared = single && q.inputs[from] == q.inputs[from - 1];
                s.slot[n - s.low] = shared ? s.slot[n - 1 - s.low] : int32_t(n - s.low);
                T* d_h = s.d_hidden + s.slot[n - s.low] * padded;
                each([&](int64_t c, auto width) {
                    W total = shared ? load(d_h + c, width) : W{};
                    for (int64_t k = 0; k < targets; k++) {
                        const T* row = out + std::max<int64_t>(target[k], 0) * q.dim;
                        total = multiply_add(total, slope[k], load(row + c, width));
                    }
                    store(d_h + c, total, width);
                });
            }
        }
        s.loss[block] = loss + std::log(product);
    }

    // The mean of several input rows.
    void mean(const Step& s, int64_t n) const {
        int64_t first = q.offsets[n], count = q.offsets[n + 1] - first;
        if (count == 1) return;
        T share = T(1) / T(count), *to = s.hidden + (n - s.low) * padded;
        each([&](int64_t c, auto width) {
            W total = {};
            for (int64_t i = first; i < first + count; i++) total += load(in + int64_t(q.inputs[i]) * q.dim + c, width);
            store(to + c, total * share, width);
        });
    }

    void subtract(T* to, T factor, const T* row) const {
        each([&](int64_t c, auto width) {
            store(to + c, multiply_add(load(to + c, width), -factor, load(row + c, width)), width);
        });
    }

    // Updates the rows of the output table that a thread owns.
    void update_out(const Step& s, int64_t own, int64_t owners) const {
        for (int64_t n = s.low; n < s.high; n++) {
            const T* h = hidden_of(s, n);
            for (int64_t k = 0; k < targets; k++) {
                int32_t row = q.targets[n * targets + k];
                if (row < 0 || owner(row, owners) != own) continue;
                T* to = out_to + int64_t(row) * q.dim;
                T slope = s.slope[(n - s.low) * targets + k];
                subtract(to, slope, h);
            }
        }
    }
    void update_in(const Step& s, int64_t own, int64_t owners) const {
        for (int64_t n = s.low; n < s.high; n++) {
            if (s.slot[n - s.low] != n - s.low) continue;
            int64_t first = q.offsets[n], count = q.offsets[n + 1] - first;
            const T* d_h = s.d_hidden + (n - s.low) * padded;
            T share = T(1) / T(count);
            for (int64_t i = 0; i < count; i++) {
                int32_t row = q.inputs[first + i];
                if (owner(row, owners) != own) continue;
                T* to = in_to + int64_t(row) * q.dim;
                subtract(to, share, d_h);
            }
        }
    }

    bool run() const {
        int64_t owners = std::max<int64_t>(q.threads, 1), blocks = (largest + BLOCK - 1) / BLOCK;
        Buffer hidden(largest * padded * sizeof(T)), d_hidden(largest * padded * sizeof(T));
        Buffer slope(largest * targets * sizeof(T)), slot(largest * sizeof(int32_t));
        std::vector<double> loss(blocks * q.steps);
        Passes passes(3 * q.steps);
        auto member = [&](int64_t) {
            for (int64_t number = 0; number < q.steps; number++) {
                if (seqtwin::interrupted()) return;
                Step s{q.bounds[number], q.bounds[number + 1], T(q.rates[number]), hidden.as<T>(), slope.as<T>(),
                       d_hidden.as<T>(), slot.as<int32_t>(), loss.data() + number * blocks};
                auto pass1 = [&](int64_t block) { forward(s, block); };
                auto pass2 = [&](int64_t own) { update_out(s, own, owners); };
                auto pass3 = [&](int64_t own) { update_in(s, own, owners); };
                passes.run(3 * number, (s.high - s.low + BLOCK - 1) / BLOCK, pass1);
                passes.run(3 * number + 1, owners, pass2);
                passes.run(3 * number + 2, owners, pass3);
            }
        };
        bool whole = seqtwin::parallel_for(owners, owners, member);
        for (int64_t number = 0; number < q.steps; number++) {
            q.losses[number] = 0.0;
            for (int64_t block = 0; block < blocks; block++) q.losses[number] += loss[number * blocks + block];
        }
        return whole;
    }
};

// SplitMix64; the numbers are defined in core/words/sampling.py.
inline uint64_t random_bits(uint64_t key, uint64_t number) {
    uint64_t z = key + (number + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

bool draw_noise(const WordNoise& q) {
    constexpr int64_t PIECE = 4096;
    auto piece = [&](int64_t number) {
        for (int64_t n = number * PIECE; n < std::min(q.count, (number + 1) * PIECE); n++) {
            int32_t* row = q.targets + n * (1 + q.negatives);
            row[0] = q.positives[n];
            for (int64_t k = 0; k < q.negatives; k++) {
                uint64_t bits = random_bits(q.key, uint64_t(n * q.negatives + k));
                int64_t column = int64_t((bits >> 32) * uint64_t(q.words) >> 32);
                int32_t word = uint32_t(bits) < q.threshold[column] ? int32_t(column) : q.alias[column];
                row[1 + k] = word == row[0] ? -1 : word;
            }
        }
    };
    return seqtwin::parallel_for((q.count + PIECE - 1) / PIECE, q.threads, piece);
}

template <class T> bool train(const WordSteps& q) {
    switch (q.dim * int64_t(sizeof(T))) {
        case 256: return Words<T, 4>(q).run();
        case 512: return Words<T, 8>(q).run();
        case 1024: return Words<T, 16>(q).run();
        default: return Words<T, 0>(q).run();
    }
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" WordBuild NAME(seqtwin_words_, TARGET)(bool float64) {
    return {float64 ? train<double> : train<float>, draw_noise};
}
