// word2vec with negative sampling: minibatch steps of SGD on two tables, and the noise words. Compiled per instruction
// set like `recurrent.cpp`; vectors have the same number of lanes in all builds.
//
// A step computes all slopes at the parameters before it, then updates the tables. Every row is updated by one thread,
// in the order of the predictions, so results do not depend on the number of threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors wider than a register are passed within this file only
#include "recurrent.h"
#include "vectors.h"



namespace {

using seqtwin::Buffer;

constexpr int64_t BLOCK = 64;        // predictions of a work item
constexpr int64_t AHEAD = 2;         // predictions between the prefetch of their rows and their use
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

template <class T> struct Words : Arithmetic<T, 64> {
    typedef Arithmetic<T, 64> A;
    typedef typename A::V V;
    using A::LANES, A::load, A::store, A::all;

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
        int64_t whole = q.dim / LANES * LANES;
        for (int64_t k = 0; k < whole; k += LANES) f(k, int64_t(LANES));
        if (whole < q.dim) f(whole, q.dim - whole);
    }
    static T sum(V v) {
        T lane[LANES];
        store(lane, v);
        for (int width = LANES / 2; width > 0; width /= 2)
            for (int n = 0; n < width; n++) lane[n] += lane[n + width];
        return lane[0];
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

    // Scores, losses, slopes and hidden gradients of one block. Consecutive predictions from the same row share a slot.
    void forward(const Step& s, int64_t block) const {
        int64_t low = s.low + block * BLOCK, high = std::min(low + BLOCK, s.high), factors = 0;
        double loss = 0.0, product = 1.0;
        for (int64_t n = low; n < std::min(low + AHEAD, high); n++) prefetch(n);
        for (int64_t n = low; n < high; n++) {
            if (n + AHEAD < high) prefetch(n + AHEAD);
            int64_t first = q.offsets[n], count = q.offsets[n + 1] - first;
            if (count > 1) {
                T share = T(1) / T(count), *mean = s.hidden + (n - s.low) * padded;
                each([&](int64_t k, int64_t lanes) {
                    V total = {};
                    for (int64_t i = 0; i < count; i++)
                        total += load(in + int64_t(q.inputs[first + i]) * q.dim + k, lanes);
                    store(mean + k, total * share, lanes);
                });
            }
            const T* h = hidden_of(s, n);
            const int32_t* target = q.targets + n * targets;
            T* slope = s.slope + (n - s.low) * targets;
            for (int64_t k = 0; k < targets; k++) {
                if (target[k] < 0) {
                    slope[k] = T(0);
                    continue;
                }
                const T* row = out + int64_t(target[k]) * q.dim;
                V even = {}, odd = {};
                int64_t at = 0;
                for (; at + 2 * LANES <= q.dim; at += 2 * LANES) {
                    even += load(h + at) * load(row + at);
                    odd += load(h + at + LANES) * load(row + at + LANES);
                }
                for (; at < q.dim; at += LANES) even += load(h + at, q.dim - at) * load(row + at, q.dim - at);
                slope[k] = sum(even + odd);
            }
            if (q.scores) std::copy(slope, slope + targets, static_cast<T*>(q.scores) + n * targets);
            for (int64_t at = 0; at < targets; at += LANES) {
                int64_t lanes = std::min<int64_t>(LANES, targets - at);
                V score = load(slope + at, lanes), size = score < T(0) ? -score : score, scale, p;
                A::split_exp(-(size > A::C::SIGMOID_END ? all(A::C::SIGMOID_END) : size), scale, p);
                V e = scale * p + scale, one = T(1) / (T(1) + e);
                V sigmoid = score < T(0) ? e * one : one;
                T small[LANES], side[LANES];
                store(small, e);
                store(side, score);
                store(slope + at, sigmoid * s.rate, lanes);
                for (int64_t k = 0; k < lanes; k++) {
                    if (target[at + k] < 0) {
                        slope[at + k] = T(0);
                        continue;
                    }
                    // softplus(x) = max(x, 0) + log(1 + e^-|x|): one logarithm for many factors.
                    T x = at + k == 0 ? -side[k] : side[k];
                    loss += x > T(0) ? double(x) : 0.0;
                    product *= 1.0 + double(small[k]);
                    if (++factors == MOST_FACTORS) loss += std::log(product), product = 1.0, factors = 0;
                }
                // sigmoid(s) - 1 = -sigmoid(-s), without cancellation.
                if (at == 0) slope[0] = -s.rate * (side[0] < T(0) ? T(1) / (T(1) + small[0]) : small[0] / (T(1) + small[0]));
            }
            bool shared = n > low && count == 1 && q.offsets[n] - q.offsets[n - 1] == 1 && q.inputs[first] == q.inputs[first - 1];
            s.slot[n - s.low] = shared ? s.slot[n - 1 - s.low] : int32_t(n - s.low);
            T* d_h = s.d_hidden + s.slot[n - s.low] * padded;
            each([&](int64_t k, int64_t lanes) {
                V total = shared ? load(d_h + k, lanes) : V{};
                for (int64_t m = 0; m < targets; m++)
                    if (target[m] >= 0) total += slope[m] * load(out + int64_t(target[m]) * q.dim + k, lanes);
                store(d_h + k, total, lanes);
            });
        }
        s.loss[block] = loss + std::log(product);
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
                each([&](int64_t c, int64_t lanes) { store(to + c, load(to + c, lanes) - slope * load(h + c, lanes), lanes); });
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
                each([&](int64_t c, int64_t lanes) { store(to + c, load(to + c, lanes) - share * load(d_h + c, lanes), lanes); });
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

template <class T> bool train(const WordSteps& q) { return Words<T>(q).run(); }

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" WordBuild NAME(seqtwin_words_, TARGET)(bool float64) {
    return {float64 ? train<double> : train<float>, draw_noise};
}
