// Shared declarations: the problem structures, and the functions of a build of `recurrent.cpp`.
//
// A problem is one recurrent layer over a batch: D directions (1 or 2) of one cell, B sequences of unequal length in a
// tensor of width L, I features in, H units. All arrays are C-contiguous, of the problem's dtype unless said otherwise.
// An ensemble of M models, with separate weights and sequences, is one problem too: every array except `saved` then has
// a leading axis, [M, ...].
#pragma once

#include <cstddef>
#include <cstdint>

enum Cell { SRN = 0, GRU = 1, LSTM = 2, RESIDUAL_SRN = 3 };

// Mirrored, field by field, by `Problem` in `__init__.py`.
struct Problem {
    int64_t cell;         // as above
    int64_t float64;      // 0: float32
    int64_t directions;   // 1, or 2: the second starts at each sequence's last token
    int64_t threads;      // maximum number
    int64_t models, batch, width, inputs, hidden;
    const int64_t* lengths;       // [B], 1 <= length <= L
    const void* x;                // [B, L, I]
    const void* weight_ih[2];     // [G * H, I] of each direction; gates i, f, g, o or r, z, n
    const void* weight_hh[2];     // [G * H, H]
    const void* bias_ih[2];       // [G * H]
    const void* bias_hh[2];       // [G * H]
    const void* h_0;              // [D, B, H], or null: zeros
    const void* c_0;              // [D, B, H], or null: zeros
    void* output;                 // [B, L, D * H]: written by forward, zero past the lengths; read by backward
    void* h_n;                    // [D, B, H], or null: not wanted
    void* c_n;                    // [D, B, H], or null
    void* saved;                  // `seqtwin_saved_bytes`: written by forward for backward, which overwrites it; or null
    // Backward. A null output gradient is not computed; a null input gradient is zero.
    const void* d_output;         // [B, L, D * H]; past the lengths it is not read
    const void* d_h_n;            // [D, B, H]
    const void* d_c_n;            // [D, B, H]
    void* d_x;                    // [B, L, I], zero past the lengths
    void* d_weight_ih[2];
    void* d_weight_hh[2];
    void* d_bias_ih[2];
    void* d_bias_hh[2];
    void* d_h_0;                  // [D, B, H]
    void* d_c_0;                  // [D, B, H]
    // Inference. Null: weights are packed in every call, and inputs are those of `x`.
    void* packed;                 // `seqtwin_packed_bytes`, written by `seqtwin_pack`; the weights are then not read
    const int64_t* ids;           // [B, L]: rows of `table` in place of x; row 0 counts as zeros, whatever it contains
    const void* table;            // [V, I]
    void* sums;                   // [V, D, `seqtwin_columns`]: biases plus table times `weight_ih`; or null: not kept
    uint8_t* known;               // [V]: 1 for the rows of `sums` that were computed; both are kept between calls
};

// Problems of `training.cpp`; mirrored by classes of the same names in `training.py`.
struct DropoutMask {
    int64_t threads, size;
    uint64_t key[2];        // of NumPy's Philox
    int64_t least;          // of 65536: a unit is kept if its 16 random bits are not below
    uint8_t* keep;          // [size]: 1 or 0
};
struct RowVectors {         // vectors of tokens, in `dim` columns of arrays with `stride` columns
    int64_t float64, threads, tokens, dim, stride, rows;
    const int32_t* row;     // [tokens], 0 .. rows - 1, or -1: zeros, or skipped
    const int64_t* ids;     // [rows]: rows of `table`
    const void* table;      // [V, dim]
    void* vectors;          // [tokens, stride]: the vectors when they are looked up, then their gradients
    const uint8_t* keep;    // [tokens, stride]: columns that dropout keeps, or null: all
    void* values;           // [rows, dim]: sums of the gradients
    double scale;           // of the columns that are kept
};
struct AdamRows {
    int64_t float64, threads, rows, dim;
    void *weight, *moment1, *moment2;  // [rows, dim]
    uint8_t* touched;       // [rows]: 0 where both moments are zero
    const int32_t* slot;    // [rows]: row of `gradient`, or -1
    const void* gradient;
    double beta1, beta2, epsilon;
    double step_size;        // rate / (1 - beta1^t)
    double root_correction;  // sqrt(1 - beta2^t)
};
struct Pooling {
    int64_t float64, threads, batch, width, features, row;
    const int64_t* lengths;
    void* x;                // [B, L, F], read forward; its gradient, written backward
    void* maximum;          // [B, row], its first F columns, written forward; its gradient, read backward; or null
    void* mean;             // likewise
    int32_t* position;      // [B, F] of the maximum
};
struct Perturbation {
    int64_t float64, threads, batch, width, features;
    const int64_t* lengths;
    const void *plain, *gradient;  // [B, L, F]
    void* moved;                   // [B, L, F]: `plain` at padding
    double size;
};

// Problems of `words.cpp`; mirrored by classes of the same names in `words.py`.
struct WordSteps {
    int64_t float64, threads, dim, negatives, steps;
    const int32_t* inputs;    // rows of `in` of prediction n: inputs[offsets[n]] to inputs[offsets[n + 1]] (excluded)
    const int64_t* offsets;   // [P + 1], every prediction has one input or more
    const int32_t* targets;   // [P, 1 + K] rows of `out`, the positive first; -1: skipped
    const int64_t* bounds;    // [steps + 1]: predictions of the steps
    const double* rates;      // [steps]
    const void *in, *out;     // [V, D]
    void *in_to, *out_to;     // [V, D]: the same tables; or others, from which rate * gradient is subtracted
    double* losses;           // [steps]: summed over the predictions of a step
    void* scores;             // [P, 1 + K], or null: not wanted
};
struct WordNoise {
    int64_t threads, count, negatives, words;
    uint64_t key;
    const uint32_t* threshold;   // [V], and
    const int32_t* alias;        // [V]: the alias table
    const int32_t* positives;    // [count]
    int32_t* targets;            // [count, 1 + K]
};

// Problem of `ngrams.cpp`; mirrored by the class of the same name in `ngrams.py`. Linear models lie in blocks of `width`.
struct NgramPass {
    int64_t threads, texts, size, blocks, width;   // `size`: n-grams; `width`: 1 or 4
    int64_t newton_steps;
    double cost, least;        // C, and the least distance of a dual variable from 0 and from C
    const int64_t* order;      // [texts]
    const int64_t* starts;     // [texts + 1]: text n has the n-grams features[starts[n]] to features[starts[n + 1]]
    const int32_t* features;   // (excluded), each 0 .. size - 1
    double* table;             // [blocks, size, 2, width]: weight * ratio, and ratio^2
    double* state;             // [blocks, texts, 3, width]: scale, sign, and dual variable
    double* bias;              // [blocks, width]
};

// Problem of `convolution.cpp`: one kernel of a TextCNN over a batch of texts; mirrored in `convolution.py`. An ensemble
// of M models is one problem, too: weights are [M, ...], and every model has as many of the B texts, model by model.
struct Convolution {
    int64_t float64, threads, models, batch, width, inputs, channels, kernel;
    int64_t before;         // tokens of a window before its own position: 0, or more for centered windows
    int64_t within;         // a text has max(length - within + 1, 1) windows: K for those within it, 1 for one per token
    int64_t row;            // numbers in a row of `pooled`, `position` and `d_pooled`
    int64_t adds;           // 1: gradients are added to `d_x`, 0: written to it
    const int64_t* lengths; // [B]
    const void* x;          // [B, L, I]; or null:
    const int64_t* ids;     // [B, L]: rows of `table`; row 0 counts as zeros
    const void* table;      // [V, I]
    const void* weight;     // [M, C, I, K]; `seqtwin_convolve` reads it only without `packed`
    const void* bias;       // [M, C], likewise
    void* packed;           // `seqtwin_convolution_bytes`, written by `seqtwin_pack_convolution`; or null
    void* pooled;           // [B, row]: the maxima over the windows are its first C columns
    int32_t* position;      // [B, row]: the first windows that have them, written forward, read backward; or null
    void* values;           // [B, L, C]: the sums of all windows, zero elsewhere; or null: not wanted
    // Backward. A null gradient is not computed.
    const void* d_pooled;   // [B, row]
    void* d_x;              // [B, L, I], zero past the lengths
    void* d_weight;         // [M, C, I, K]
    void* d_bias;           // [M, C]
};

// Builds of the arithmetic for one instruction set and number type. False: interrupted.
struct TrainingBuild {
    bool (*dropout_mask)(const DropoutMask&);
    bool (*look_up_rows)(const RowVectors&);
    bool (*sum_rows)(const RowVectors&);
    bool (*adam_rows)(const AdamRows&);
    bool (*pool)(const Pooling&);
    bool (*unpool)(const Pooling&);
    bool (*perturb)(const Perturbation&);
};
struct WordBuild {
    bool (*train)(const WordSteps&);
    bool (*noise)(const WordNoise&);
};
struct NgramBuild {
    bool (*pass)(const NgramPass&);
};
struct ConvolutionBuild {
    size_t (*packed_bytes)(const Convolution&);
    bool (*pack)(const Convolution&);
    bool (*convolve)(const Convolution&);
    bool (*gradients)(const Convolution&);
};
struct Build {
    size_t (*saved_bytes)(const Problem&, int64_t tokens);
    int64_t (*columns)(const Problem&);
    size_t (*packed_bytes)(const Problem&);
    bool (*pack)(const Problem&);
    bool (*forward)(const Problem&);
    bool (*backward)(const Problem&);
};

namespace seqtwin {

// A cached buffer, aligned to 64 bytes (`runtime.cpp`). Newly allocated memory costs page faults.
void* take(size_t bytes);
void give_back(void* memory);

struct Buffer {
    void* memory;
    explicit Buffer(size_t bytes) : memory(take(bytes)) {}
    ~Buffer() { give_back(memory); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    template <class T> T* as() const { return static_cast<T*>(memory); }
};

// Runs `task(context, 0..count - 1)`, each number once, on up to `threads` threads; returns when all are done.
// False after an interrupt: some tasks were then not run, or not completed.
bool parallel(int64_t count, int64_t threads, void (*task)(void* context, int64_t number), void* context);

// What a task does. While tasks are timed (`seqtwin_time_tasks`), a task that does not name its phase counts as OTHER.
enum Phase { SERIAL = 0, OTHER = 1, PACK = 2, FORWARD = 3, BACKWARD = 4, WEIGHT_GRADIENT = 5, INPUT_GRADIENT = 6 };
extern thread_local Phase phase;

// True after Ctrl-C raised its exception; every task checks it regularly.
bool interrupted();

template <class F> bool parallel_for(int64_t count, int64_t threads, F& body) {
    return parallel(count, threads, [](void* context, int64_t number) { (*static_cast<F*>(context))(number); }, &body);
}

}  // namespace seqtwin
