// Random problems for backends/kernels, forward and backward, under the compiler's sanitizers (test_kernel_build.py):
//
//     driver SECONDS SEED
//
// Every array has exactly its size, so that a number read or written past its end is seen; results begin as NaN, so
// that one which is never written is seen too. Two callers are at it at once, as two threads of Python may be.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "../../backends/kernels/recurrent.h"

extern "C" {
void seqtwin_python(void* save, void* restore, void* check);
int seqtwin_choose(int which);
size_t seqtwin_saved_bytes(const Problem* q, int64_t tokens);
int64_t seqtwin_columns(const Problem* q);
size_t seqtwin_packed_bytes(const Problem* q);
int seqtwin_pack(const Problem* q);
int seqtwin_forward(const Problem* q);
int seqtwin_start(Problem* q, int64_t keep);
int seqtwin_backward(const Problem* q);
int seqtwin_start_layers(Problem* q, int64_t layers, int64_t keep);
int seqtwin_backward_layers(Problem* q, int64_t layers);
int64_t seqtwin_number_rows(const int64_t* ids, int64_t tokens, int64_t* rows, int32_t* row, int32_t* slot);
int seqtwin_dropout_mask(const DropoutMask* q);
int seqtwin_look_up_rows(const RowVectors* q);
int seqtwin_sum_rows(const RowVectors* q);
int seqtwin_adam_rows(const AdamRows* q);
int seqtwin_pool(const Pooling* q);
int seqtwin_unpool(const Pooling* q);
int seqtwin_perturb(const Perturbation* q);
int seqtwin_word_steps(const WordSteps* q);
int seqtwin_word_noise(const WordNoise* q);
int seqtwin_ngram_pass(const NgramPass* q);
size_t seqtwin_convolution_bytes(const Convolution* q);
int seqtwin_pack_convolution(const Convolution* q);
int seqtwin_convolve(const Convolution* q);
int seqtwin_convolution_gradients(const Convolution* q);
void* seqtwin_take(size_t bytes);
void seqtwin_give_back(void* memory);
void __lsan_do_leak_check() __attribute__((weak));  // there under AddressSanitizer
}

// recurrent.cpp is compiled with these in place of `take` and `give_back`, whose buffers are larger than asked for.
namespace seqtwin {
void* exact_take(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes) != 0) throw std::bad_alloc();
    return memory;
}
void exact_give_back(void* memory) { free(memory); }
}  // namespace seqtwin

namespace {

using Random = std::mt19937_64;

[[noreturn]] void fail(const char* what, const Problem& q) {
    std::printf("%s: cell %d, float64 %d, directions %d, threads %d, models %d, batch %d, width %d, inputs %d, hidden %d\n", what,
                int(q.cell), int(q.float64), int(q.directions), int(q.threads), int(q.models), int(q.batch), int(q.width),
                int(q.inputs), int(q.hidden));
    std::exit(1);
}

int64_t between(Random& random, int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
}

// What stands for Python: a caller gives up a lock, takes it again, and may find that Ctrl-C was pressed.
thread_local bool holds_lock = true, pressed = false;
void* save() {
    if (!holds_lock) std::abort();
    holds_lock = false;
    return &holds_lock;
}
void restore(void* state) {
    if (holds_lock || state != &holds_lock) std::abort();
    holds_lock = true;
}
int check() {
    if (!holds_lock) std::abort();
    return pressed ? -1 : 0;
}

template <class T> class Case {
public:
    Case(Random& random, bool large, bool stopped) : random(random) {
        q.cell = between(random, SRN, RESIDUAL_SRN);
        q.models = between(random, 0, 2) ? 1 : between(random, 2, 4);
        q.float64 = sizeof(T) == sizeof(double);
        q.directions = between(random, 1, 2);
        q.batch = between(random, 0, 3) ? between(random, 1, large ? 20 : 9) : 1;
        q.width = between(random, 0, 3) ? between(random, 1, large ? 30 : 9) : 1;
        q.inputs = between(random, 1, 70);
        q.hidden = between(random, 1, 70);
        if (stopped) q.width = 20000, q.models = 1, q.batch = 4, q.hidden = 70;  // seconds of work
        sequences_in_all = q.models * q.batch;
        lengths.reset(new int64_t[sequences_in_all]);
        for (int64_t b = 0; b < sequences_in_all; b++) lengths[b] = between(random, stopped ? q.width / 2 : 1, q.width);
        lengths[between(random, 0, sequences_in_all - 1)] = q.width;
        for (int64_t b = 0; b < sequences_in_all; b++) tokens += lengths[b];
        q.lengths = lengths.get();

        int64_t gates = q.cell == GRU ? 3 : q.cell == LSTM ? 4 : 1, rows = q.models * gates * q.hidden;
        int64_t states = q.directions * sequences_in_all * q.hidden;
        q.x = sequences(q.inputs);
        for (int64_t d = 0; d < q.directions; d++) {
            q.weight_ih[d] = input(rows * q.inputs);
            q.weight_hh[d] = input(rows * q.hidden);
            q.bias_ih[d] = input(rows);
            q.bias_hh[d] = input(rows);
            q.d_weight_ih[d] = maybe() ? output(rows * q.inputs) : nullptr;
            q.d_weight_hh[d] = maybe() ? output(rows * q.hidden) : nullptr;
            q.d_bias_ih[d] = maybe() ? output(rows) : nullptr;
            q.d_bias_hh[d] = maybe() ? output(rows) : nullptr;
        }
        q.output = output(sequences_in_all * q.width * q.directions * q.hidden);
        q.h_n = maybe() ? output(states) : nullptr;
        q.d_output = maybe() ? sequences(q.directions * q.hidden) : nullptr;
        q.d_h_n = maybe() ? input(states) : nullptr;
        q.d_x = maybe() ? output(sequences_in_all * q.width * q.inputs) : nullptr;
        q.h_0 = maybe() ? input(states) : nullptr;
        q.d_h_0 = maybe() ? output(states) : nullptr;
        if (q.cell == LSTM) {
            q.c_n = maybe() ? output(states) : nullptr;
            q.c_0 = maybe() ? input(states) : nullptr;
            q.d_c_n = maybe() ? input(states) : nullptr;
            q.d_c_0 = maybe() ? output(states) : nullptr;
        }
    }

    // All results, after each number of threads in turn, have the same bits, and none is NaN.
    void run() {
        std::vector<std::vector<T>> first;
        for (int64_t threads : {1, 2, 3, 16}) {
            q.threads = threads;
            for (Array& array : outputs) std::fill_n(array.at.get(), array.size, std::numeric_limits<T>::quiet_NaN());
            Problem own = q;
            std::unique_ptr<char[]> exact;
            if (maybe()) exact.reset(new char[seqtwin_saved_bytes(&q, tokens)]);  // or as Python does
            own.saved = exact.get();
            int code = exact ? seqtwin_forward(&own) : seqtwin_start(&own, 1);
            code |= seqtwin_backward(&own);
            if (!exact) seqtwin_give_back(own.saved);
            if (code != 0) fail("refused", q);
            for (size_t n = 0; n < outputs.size(); n++) {
                const T* found = outputs[n].at.get();
                for (int64_t k = 0; k < outputs[n].size; k++)
                    if (std::isnan(found[k])) fail("a result that was not written, or is NaN", q);
                if (first.size() == n) first.emplace_back(found, found + outputs[n].size);
                if (std::memcmp(first[n].data(), found, outputs[n].size * sizeof(T)) != 0)
                    fail("other bits with more threads", q);
            }
        }
        Problem own = q;
        if (seqtwin_start(&own, 0) != 0 || own.saved) fail("refused without anything to keep", q);
        lengths[0] = between(random, 0, 1) ? 0 : q.width + 1;
        own = q;
        if (seqtwin_start(&own, 1) != 3 || own.saved) fail("a wrong length was not seen", q);
    }

    // Ctrl-C was pressed before it began: it must not work to its end.
    void stop() {
        q.threads = between(random, 1, 3);
        pressed = true;
        auto begun = std::chrono::steady_clock::now();
        int code = seqtwin_forward(&q);
        pressed = false;
        auto took = std::chrono::steady_clock::now() - begun;
        if (code != 1 && took > std::chrono::milliseconds(500)) fail("Ctrl-C was not seen", q);
    }

private:
    struct Array {
        std::unique_ptr<T[]> at;
        int64_t size;
    };
    Random& random;
    Problem q{};
    int64_t tokens = 0, sequences_in_all;
    std::unique_ptr<int64_t[]> lengths;
    std::vector<Array> inputs, outputs;

    bool maybe() { return between(random, 0, 4) != 0; }
    T* input(int64_t size) {
        inputs.push_back({std::unique_ptr<T[]>(new T[size]), size});
        T* at = inputs.back().at.get();
        for (int64_t k = 0; k < size; k++) at[k] = T(between(random, -400, 400)) / 1000;
        return at;
    }
    T* sequences(int64_t features) {  // what lies past the lengths is never used
        T* at = input(sequences_in_all * q.width * features);
        for (int64_t b = 0; b < sequences_in_all; b++)
            std::fill(at + (b * q.width + lengths[b]) * features, at + (b + 1) * q.width * features,
                      std::numeric_limits<T>::quiet_NaN());
        return at;
    }
    T* output(int64_t size) {
        outputs.push_back({std::unique_ptr<T[]>(new T[size]), size});
        return outputs.back().at.get();
    }
};

// The rest of a training step, in sizes of its own: the gradient of word vectors and Adam on them, pooling, word2vec, n-grams.
template <class T> std::vector<T> numbers(Random& random, int64_t size) {
    std::vector<T> made;  // of exactly this size, as all that is reserved at once
    made.reserve(size);
    for (int64_t k = 0; k < size; k++) made.push_back(T(between(random, 1, 1000)) / 1000);
    return made;
}

template <class T> std::vector<T> embedding_step(Random random, int64_t threads) {
    int64_t tokens = between(random, 1, 300), ids = between(random, 1, 300), dim = between(random, 1, 150);
    std::vector<int64_t> id(tokens), found(tokens);
    for (int64_t& one : id) one = between(random, 0, ids - 1);
    std::vector<int32_t> row(tokens), slot(ids, -1);
    int64_t rows = seqtwin_number_rows(id.data(), tokens, found.data(), row.data(), slot.data());
    // Two tables, of which one is the first: each has `dim` of the columns.
    int64_t stride = dim + between(random, 0, 20), first = between(random, 0, stride - dim);
    auto gradient = numbers<T>(random, tokens * stride), weight = numbers<T>(random, ids * dim);
    std::vector<uint8_t> keep(between(random, 0, 1) * tokens * stride, 2);
    DropoutMask mask{threads, int64_t(keep.size()), {1, 2}, 30000, keep.data()};
    const uint8_t* kept = keep.empty() ? nullptr : keep.data() + first;
    std::vector<T> values(rows * dim, std::numeric_limits<T>::quiet_NaN()), mean(ids * dim), square(ids * dim);
    std::vector<uint8_t> touched(ids);
    RowVectors vectors{sizeof(T) == 8, threads,       tokens,                  dim,  stride,        rows, row.data(),
                       found.data(),   weight.data(), gradient.data() + first, kept, values.data(), 1.5};
    AdamRows adam{sizeof(T) == 8, threads,     ids,           dim, weight.data(), mean.data(), square.data(),
                  touched.data(), slot.data(), values.data(), 0.9, 0.99,          1e-8,        0.1,
                  0.1};
    if (seqtwin_dropout_mask(&mask) != 0 || seqtwin_sum_rows(&vectors) != 0) std::abort();
    if (seqtwin_adam_rows(&adam) != 0 || seqtwin_look_up_rows(&vectors) != 0) std::abort();
    weight.insert(weight.end(), gradient.begin(), gradient.end());
    return weight;
}

template <class T> std::vector<T> pooling(Random random, int64_t threads, bool max, bool mean) {
    int64_t batch = between(random, 1, 9), width = between(random, 1, 9), features = between(random, 1, 150);
    int64_t row = features * (1 + (max && mean));
    auto x = numbers<T>(random, batch * width * features), d_pooled = numbers<T>(random, batch * row);
    std::vector<T> pooled(batch * row), d_x(x.size(), std::numeric_limits<T>::quiet_NaN());
    std::vector<int64_t> lengths(batch);
    for (int64_t& length : lengths) length = between(random, 1, width);
    std::vector<int32_t> position(max ? batch * features : 0);
    auto problem = [&](std::vector<T>& whole, std::vector<T>& by_text) {
        return Pooling{sizeof(T) == 8,  threads,      batch, width, features, row, lengths.data(),
                       whole.data(),    max ? by_text.data() : nullptr,
                       mean ? by_text.data() + row - features : nullptr, position.data()};
    };
    Pooling forward = problem(x, pooled), backward = problem(d_x, d_pooled);
    if (seqtwin_pool(&forward) != 0 || seqtwin_unpool(&backward) != 0) std::abort();
    std::vector<T> near(x.size(), std::numeric_limits<T>::quiet_NaN());
    Perturbation perturbation{sizeof(T) == 8, threads,  batch,    width,       features, lengths.data(),
                              x.data(),       d_x.data(), near.data(), 0.5};
    if (seqtwin_perturb(&perturbation) != 0) std::abort();
    for (auto* more : {&pooled, &near}) d_x.insert(d_x.end(), more->begin(), more->end());
    return d_x;
}

// A layer with packed weights on the rows of a table, twice, the second time with sums that it knows: the bits of the
// layer on the vectors themselves.
template <class T> std::vector<T> inference(Random random, int64_t threads) {
    Problem q{};
    q.cell = between(random, SRN, RESIDUAL_SRN);
    q.float64 = sizeof(T) == 8, q.directions = between(random, 1, 2), q.threads = threads, q.models = 1;
    q.batch = between(random, 1, 9), q.width = between(random, 1, 12);
    q.inputs = between(random, 1, 70), q.hidden = between(random, 1, 70);
    int64_t rows = (q.cell == GRU ? 3 : q.cell == LSTM ? 4 : 1) * q.hidden, words = between(random, 1, 40);
    std::vector<int64_t> lengths(q.batch), ids(q.batch * q.width);
    for (int64_t& length : lengths) length = between(random, 1, q.width);
    for (int64_t& id : ids) id = between(random, 0, words - 1);
    auto table = numbers<T>(random, words * q.inputs);
    std::vector<T> x(q.batch * q.width * q.inputs);
    for (size_t n = 0; n < ids.size(); n++)
        if (ids[n] != 0) std::copy_n(&table[ids[n] * q.inputs], q.inputs, &x[n * q.inputs]);
    std::vector<std::vector<T>> weights;
    for (int64_t size : {rows * q.inputs, rows * q.hidden, rows, rows})
        for (int64_t d = 0; d < q.directions; d++) weights.push_back(numbers<T>(random, size));
    const void** kinds[] = {q.weight_ih, q.weight_hh, q.bias_ih, q.bias_hh};
    for (size_t n = 0; n < weights.size(); n++) kinds[n / q.directions][n % q.directions] = weights[n].data();
    std::vector<T> outputs[3];
    q.lengths = lengths.data();
    auto forward = [&](std::vector<T>& output) {
        output.assign(q.batch * q.width * q.directions * q.hidden, std::numeric_limits<T>::quiet_NaN());
        q.output = output.data();
        if (seqtwin_forward(&q) != 0) std::abort();
    };
    q.x = x.data();
    forward(outputs[0]);
    std::unique_ptr<char[]> packed(new char[seqtwin_packed_bytes(&q)]);
    q.packed = packed.get();
    if (seqtwin_pack(&q) != 0) std::abort();
    for (auto kind : kinds) kind[0] = kind[1] = nullptr;
    std::vector<T> sums(words * q.directions * seqtwin_columns(&q), std::numeric_limits<T>::quiet_NaN());
    std::vector<uint8_t> known(words);
    q.x = nullptr, q.ids = ids.data(), q.table = table.data();
    if (between(random, 0, 2)) q.sums = sums.data(), q.known = known.data();
    for (int more : {1, 2}) {
        forward(outputs[more]);
        if (std::memcmp(outputs[0].data(), outputs[more].data(), outputs[0].size() * sizeof(T)) != 0) std::abort();
    }
    return outputs[0];
}

// A stack of layers in one call, and layer by layer: the same bits.
template <class T> std::vector<T> stack(Random random, int64_t threads) {
    int64_t layers = between(random, 1, 4), models = between(random, 0, 2) ? 1 : 2, batch = between(random, 1, 9);
    int64_t width = between(random, 1, 12), inputs = between(random, 1, 70), sequences = models * batch;
    std::vector<int64_t> lengths(sequences);
    for (int64_t& length : lengths) length = between(random, 1, width);
    std::vector<Problem> problems(layers);
    std::vector<std::vector<T>> weights, gradients, outputs(layers), between_layers(layers);
    auto x = numbers<T>(random, sequences * width * inputs);
    gradients.emplace_back(x.size());
    for (int64_t n = 0; n < layers; n++) {
        Problem& q = problems[n];
        q.cell = between(random, SRN, RESIDUAL_SRN), q.float64 = sizeof(T) == 8, q.directions = between(random, 1, 2);
        q.threads = threads, q.models = models, q.batch = batch, q.width = width, q.hidden = between(random, 1, 40);
        q.inputs = n > 0 ? problems[n - 1].directions * problems[n - 1].hidden : inputs;
        int64_t rows = models * (q.cell == GRU ? 3 : q.cell == LSTM ? 4 : 1) * q.hidden;
        for (int64_t d = 0; d < q.directions; d++)
            for (int64_t size : {rows * q.inputs, rows * q.hidden, rows, rows}) {
                weights.push_back(numbers<T>(random, size));
                for (T& weight : weights.back()) weight = (weight - T(0.5)) / 10;
                gradients.emplace_back(size);
            }
        outputs[n].resize(sequences * width * q.directions * q.hidden);
        if (n > 0) between_layers[n].resize(outputs[n - 1].size());
    }
    auto d_output = numbers<T>(random, outputs[layers - 1].size());
    auto run = [&](bool together) {
        std::vector<Problem> own = problems;
        for (auto* arrays : {&gradients, &outputs})
            for (auto& array : *arrays) std::fill(array.begin(), array.end(), std::numeric_limits<T>::quiet_NaN());
        for (int64_t n = 0, next = 0; n < layers; n++) {
            own[n].lengths = lengths.data(), own[n].output = outputs[n].data();
            own[n].x = n > 0 ? outputs[n - 1].data() : x.data();
            for (int64_t d = 0; d < own[n].directions; d++) {
                const void** to[] = {&own[n].weight_ih[d], &own[n].weight_hh[d], &own[n].bias_ih[d], &own[n].bias_hh[d]};
                void** back[] = {&own[n].d_weight_ih[d], &own[n].d_weight_hh[d], &own[n].d_bias_ih[d], &own[n].d_bias_hh[d]};
                for (int kind = 0; kind < 4; kind++, next++) {
                    *to[kind] = weights[next].data();
                    *back[kind] = gradients[1 + next].data();
                }
            }
        }
        own[0].d_x = gradients[0].data(), own[layers - 1].d_output = d_output.data();
        int code = 0;
        if (together) {
            code |= seqtwin_start_layers(own.data(), layers, 0);
            for (Problem& q : own) q.lengths = lengths.data();
            code |= seqtwin_start_layers(own.data(), layers, 1) | seqtwin_backward_layers(own.data(), layers);
            for (Problem& q : own)
                if (q.saved) std::abort();
        } else {
            for (Problem& q : own) code |= seqtwin_start(&q, 1);
            for (int64_t n = layers - 1; n >= 0; n--) {
                if (n > 0) own[n].d_x = between_layers[n].data(), own[n - 1].d_output = own[n].d_x;
                code |= seqtwin_backward(&own[n]);
                seqtwin_give_back(own[n].saved);
            }
        }
        if (code != 0) std::abort();
        std::vector<T> found;
        for (auto* arrays : {&gradients, &outputs})
            for (auto& array : *arrays) found.insert(found.end(), array.begin(), array.end());
        return found;
    };
    auto together = run(true), apart = run(false);
    if (std::memcmp(together.data(), apart.data(), apart.size() * sizeof(T)) != 0) std::abort();
    return together;
}

// Steps of word2vec, some without predictions, on noise words that the library draws.
template <class T> std::vector<T> word_steps(Random random, int64_t threads) {
    int64_t words = between(random, 2, 60), dim = between(random, 1, 70), negatives = between(random, 0, 40);
    int64_t count = between(random, 0, 300), steps = between(random, 1, 5);
    std::vector<uint32_t> threshold(words);
    std::vector<int32_t> alias(words), positives(count), targets(count * (1 + negatives)), inputs;
    for (uint32_t& one : threshold) one = uint32_t(random());
    for (int32_t& one : alias) one = int32_t(between(random, 0, words - 1));
    for (int32_t& one : positives) one = int32_t(between(random, 0, words - 1));
    WordNoise noise{threads, count, negatives, words, random(), threshold.data(), alias.data(), positives.data(), targets.data()};
    if (seqtwin_word_noise(&noise) != 0) std::abort();
    std::vector<int64_t> offsets(1), bounds(steps + 1);
    for (int64_t n = 0; n < count; n++) offsets.push_back(offsets.back() + (between(random, 0, 1) ? 1 : between(random, 1, 9)));
    for (int64_t n = 0; n < offsets.back(); n++) inputs.push_back(int32_t(between(random, 0, words - 1)));
    for (int64_t s = 1; s < steps; s++) bounds[s] = between(random, bounds[s - 1], count);
    bounds[steps] = count;
    inputs.shrink_to_fit(), offsets.shrink_to_fit();
    auto in = numbers<T>(random, words * dim), out = numbers<T>(random, words * dim);
    auto rates = numbers<double>(random, steps);
    std::vector<double> losses(steps, std::numeric_limits<double>::quiet_NaN());
    std::vector<T> scores(count * (1 + negatives), std::numeric_limits<T>::quiet_NaN());
    WordSteps q{sizeof(T) == 8, threads,       dim,           negatives, steps,      inputs.data(), offsets.data(), targets.data(),
                bounds.data(),  rates.data(),  in.data(),     out.data(), in.data(), out.data(),    losses.data(),  scores.data()};
    if (seqtwin_word_steps(&q) != 0) std::abort();
    for (auto* more : {&out, &scores}) in.insert(in.end(), more->begin(), more->end());
    in.insert(in.end(), losses.begin(), losses.end());
    return in;
}

// Two passes of the linear models of n-grams, over texts of which some have none.
template <class T> std::vector<T> ngram_passes(Random random, int64_t threads) {
    int64_t texts = between(random, 1, 30), size = between(random, 1, 40), width = between(random, 0, 1) ? 4 : 1;
    int64_t blocks = between(random, 1, 4);
    std::vector<int64_t> order(texts), starts(1, 0);
    std::vector<int32_t> features;
    for (int64_t n = 0; n < texts; n++) {
        order[n] = texts - 1 - n;
        for (int64_t f = between(random, 0, 3); f < size; f += between(random, 1, 9)) features.push_back(int32_t(f));
        if (n % 7 == 3) features.resize(starts.back());
        starts.push_back(int64_t(features.size()));
    }
    auto table = numbers<double>(random, blocks * size * 2 * width), bias = numbers<double>(random, blocks * width);
    std::vector<double> state;
    for (int64_t n = 0; n < blocks * texts; n++)
        for (int64_t kind = 0; kind < 3; kind++)
            for (int64_t k = 0; k < width; k++)
                state.push_back(kind == 1 ? double(between(random, -1, 1)) : kind == 0 ? 0.3 : 0.01);
    NgramPass q{threads, texts,        size,          blocks,          width,        2,            10.0,
                1e-11,   order.data(), starts.data(), features.data(), table.data(), state.data(), bias.data()};
    for (int pass = 0; pass < 2; pass++)
        if (seqtwin_ngram_pass(&q) != 0) std::abort();
    for (auto* more : {&state, &bias}) table.insert(table.end(), more->begin(), more->end());
    return std::vector<T>(table.begin(), table.end());
}

// A kernel of a TextCNN on vectors, and on the rows of a table that these are: the same bits.
template <class T> std::vector<T> convolution(Random random, int64_t threads) {
    int64_t batch = between(random, 1, 5), width = between(random, 1, 12), words = between(random, 1, 40);
    Convolution q{sizeof(T) == 8, threads, 1, batch, width, between(random, 1, 17), between(random, 1, 70)};
    q.kernel = between(random, 1, 9);
    bool centered = between(random, 0, 1);
    q.before = centered ? (q.kernel - 1) / 2 : 0, q.within = centered ? 1 : q.kernel;
    q.row = q.channels + between(random, 0, 3);
    std::vector<int64_t> lengths(batch), ids(batch * width);
    for (int64_t& length : lengths) length = between(random, 1, width);
    for (int64_t& id : ids) id = between(random, 0, words - 1);
    auto table = numbers<T>(random, words * q.inputs), bias = numbers<T>(random, q.channels);
    auto weight = numbers<T>(random, q.channels * q.inputs * q.kernel);
    std::vector<T> x(batch * width * q.inputs);
    for (size_t n = 0; n < ids.size(); n++)
        if (ids[n] != 0) std::copy_n(&table[ids[n] * q.inputs], q.inputs, &x[n * q.inputs]);
    std::unique_ptr<char[]> packed(new char[seqtwin_convolution_bytes(&q)]);
    q.packed = packed.get(), q.weight = weight.data(), q.bias = bias.data();
    if (seqtwin_pack_convolution(&q) != 0) std::abort();
    q.lengths = lengths.data(), q.weight = q.bias = nullptr;
    std::vector<T> found[2];
    for (int table_too : {0, 1}) {
        found[table_too].assign((batch - 1) * q.row + q.channels, T(0));
        q.x = table_too ? nullptr : x.data();
        if (table_too) q.ids = ids.data(), q.table = table.data();
        q.pooled = found[table_too].data();
        if (seqtwin_convolve(&q) != 0) std::abort();
    }
    if (std::memcmp(found[0].data(), found[1].data(), found[0].size() * sizeof(T)) != 0) std::abort();
    return found[0];
}

// A kernel of a TextCNN in training: maxima, values of the windows, and all gradients, or some.
template <class T> std::vector<T> convolution_step(Random random, int64_t threads) {
    int64_t models = between(random, 1, 3), batch = models * between(random, 1, 4), width = between(random, 1, 12);
    Convolution q{sizeof(T) == 8, threads, models, batch, width, between(random, 1, 17), between(random, 1, 70)};
    q.kernel = between(random, 1, 9), q.row = q.channels + between(random, 0, 3);
    bool centered = between(random, 0, 1);
    q.before = centered ? (q.kernel - 1) / 2 : 0, q.within = centered ? 1 : q.kernel;
    std::vector<int64_t> lengths(batch);
    for (int64_t& length : lengths) length = between(random, 1, width);
    int64_t rows = (batch - 1) * q.row + q.channels, size = models * q.channels * q.inputs * q.kernel;
    auto x = numbers<T>(random, batch * width * q.inputs), d_pooled = numbers<T>(random, rows);
    auto weight = numbers<T>(random, size), bias = numbers<T>(random, models * q.channels);
    std::vector<T> pooled(rows, T(0)), values(batch * width * q.channels, T(NAN)), d_x(x.size(), T(NAN));
    std::vector<T> d_weight(size, T(NAN)), d_bias(bias.size(), T(NAN));
    std::vector<int32_t> position(rows);
    q.lengths = lengths.data(), q.x = x.data(), q.weight = weight.data(), q.bias = bias.data();
    q.pooled = pooled.data(), q.position = position.data(), q.values = values.data();
    if (seqtwin_convolve(&q) != 0) std::abort();
    q.d_pooled = d_pooled.data();
    bool wanted[] = {between(random, 0, 3) > 0, between(random, 0, 3) > 0, between(random, 0, 3) > 0};
    if (wanted[0]) q.d_x = d_x.data(); else d_x.clear();
    if (wanted[1]) q.d_weight = d_weight.data(); else d_weight.clear();
    if (wanted[2]) q.d_bias = d_bias.data(); else d_bias.clear();
    for (q.adds = 0; q.adds < 2; q.adds++)
        if (seqtwin_convolution_gradients(&q) != 0) std::abort();
    for (auto* more : {&values, &d_x, &d_weight, &d_bias}) pooled.insert(pooled.end(), more->begin(), more->end());
    return pooled;
}

template <class T> void rest_of_a_step(Random& random) {
    for (int which = 0; which < 10; which++) {
        std::vector<T> first;
        for (int64_t threads = 1; threads <= 3; threads++) {  // each gets a copy of `random`: the same problem
            auto found = which == 0   ? embedding_step<T>(random, threads)
                         : which == 3 ? word_steps<T>(random, threads)
                         : which == 4 ? ngram_passes<T>(random, threads)
                         : which == 5 ? inference<T>(random, threads)
                         : which == 6 ? convolution<T>(random, threads)
                         : which == 7 ? convolution_step<T>(random, threads)
                         : which == 8 ? stack<T>(random, threads)
                                      : pooling<T>(random, threads, which != 2, which != 1);
            for (T value : found)
                if (std::isnan(value)) std::printf("a result that was not written, %d\n", which), std::exit(1);
            if (threads == 1) first = found;
            if (std::memcmp(first.data(), found.data(), found.size() * sizeof(T)) != 0)
                std::printf("other bits with more threads, %d\n", which), std::exit(1);
        }
        random.discard(1);
    }
}

template <class T> void one(Random& random, int64_t number) {
    rest_of_a_step<T>(random);
    bool stopped = number % 50 == 49;
    Case<T> here(random, number % 4 == 0, stopped);
    stopped ? here.stop() : here.run();
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(arguments[1]));
    seqtwin_python(reinterpret_cast<void*>(save), reinterpret_cast<void*>(restore), reinterpret_cast<void*>(check));
    int64_t round = 0, problems[2] = {};
    for (; std::chrono::steady_clock::now() < end; round++) {
        while (!seqtwin_choose(int(round % 3))) round++;
        auto caller = [&](int who) {
            Random random(std::strtoull(arguments[2], nullptr, 10) + 1000003 * round + who);
            for (int some = 0; some < 5 && std::chrono::steady_clock::now() < end; some++, problems[who]++)
                between(random, 0, 1) ? one<float>(random, problems[who]) : one<double>(random, problems[who]);
        };
        std::thread other(caller, 1);
        caller(0);
        other.join();
    }
    std::printf("%lld problems\n", static_cast<long long>(problems[0] + problems[1]));
    std::fflush(stdout);
    // Now, not at the end of the program: the buffers that are kept for the next call are no leak.
    if (__lsan_do_leak_check) __lsan_do_leak_check();
    std::_Exit(0);
}
