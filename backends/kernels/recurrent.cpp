// Arithmetic of a recurrent layer, forward and backward, compiled once per instruction set (`setup.py`): only the
// vector width differs between the builds. docs/speed.md explains the design.
//
// The order of additions never depends on the number of threads or on the caller, so results are identical bit by bit.

#include "recurrent.h"
#include "vectors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#ifndef TARGET
#error "TARGET names this build: avx512, avx2 or portable"
#endif

namespace {

using seqtwin::Buffer;

#if defined(__AVX512F__)
constexpr int ROWS = 6;  // 6 rows x 4 vectors of sums, 4 of weights and one broadcast: 29 of 32 registers
#elif defined(__AVX__)
constexpr int ROWS = 3;  // 17 of 16 registers, but weights can be memory operands
#elif defined(__aarch64__)
constexpr int ROWS = 6;
#else
constexpr int ROWS = 3;
#endif

constexpr int WIDE = 4;      // vectors in a panel: the four gates of a unit, adjacent
constexpr int64_t CHUNK = 128;  // tokens whose weight gradients are summed before they are added to the total
constexpr int64_t BLOCK = 48;   // tokens of an input gradient computed together

// Simple cells have a single gate block, the unit itself.
constexpr bool is_simple(int64_t cell) { return cell == SRN || cell == RESIDUAL_SRN; }

template <class T> struct Layer : Arithmetic<T> {
    typedef Arithmetic<T> A;
    typedef typename A::V V;
    typedef typename A::N N;
    using A::LANES, A::load, A::store, A::all, A::sigmoid, A::tanh;
    static constexpr int64_t PANEL = WIDE * LANES;

    // ---- matrix product: sums[r][v] += a[r][k] * b[k][v] - ------------------------------------------------------

    template <int R, int NV> static void product(V (&sums)[R][NV], const T* const* a, int64_t count, const T* b) {
        const T* row[R];
        for (int r = 0; r < R; r++) row[r] = a[r];
        for (int64_t k = 0; k < count; k++, b += NV * LANES) {
            V weights[NV];
            for (int v = 0; v < NV; v++) weights[v] = load(b + v * LANES);
            for (int r = 0; r < R; r++) {
                V one = all(row[r][k]);
                for (int v = 0; v < NV; v++) sums[r][v] += one * weights[v];
            }
        }
    }

    // ---- shape of a problem ------------------------------------------------------------------------------------

    const Problem& q;
    int gates;              // gate blocks in a weight: 1, 3, 4
    int64_t units;          // vectors of hidden units
    int64_t padded;         // units * LANES
    int64_t columns;        // stored numbers of a token's gates
    int64_t features;       // D * H
    int64_t tokens;
    std::vector<int64_t> order;    // rows by decreasing length
    std::vector<int64_t> offset;   // [B]: index of a row's first token, sequences concatenated
    T* gate_store[2] = {};         // [tokens, columns] of each direction; LSTM and GRU: [unit vector][4][LANES]
    T* cell_store[2] = {};         // [tokens, padded], LSTM only

    explicit Layer(const Problem& problem) : q(problem) {
        gates = q.cell == GRU ? 3 : q.cell == LSTM ? 4 : 1;
        units = (q.hidden + LANES - 1) / LANES;
        padded = units * LANES;
        columns = is_simple(q.cell) ? padded : units * PANEL;
        features = q.directions * q.hidden;
        order.resize(q.batch);
        std::iota(order.begin(), order.end(), int64_t(0));
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return q.lengths[a] > q.lengths[b]; });
        if (q.ids) zeros.assign(q.inputs, T(0));
        offset.resize(q.batch);
        tokens = 0;
        for (int64_t b = 0; b < q.batch; b++) offset[b] = tokens, tokens += q.lengths[b];
        if (q.saved) {
            T* at = static_cast<T*>(q.saved);
            for (int64_t d = 0; d < q.directions; d++) {
                gate_store[d] = at, at += tokens * columns;
                if (q.cell == LSTM) cell_store[d] = at, at += tokens * padded;
            }
        }
    }
    static size_t saved_bytes(const Problem& q, int64_t tokens) {
        int64_t units = (q.hidden + LANES - 1) / LANES;
        int64_t each = is_simple(q.cell) ? units * LANES : units * PANEL + (q.cell == LSTM ? units * LANES : 0);
        return sizeof(T) * each * tokens * q.directions;
    }

    const T* weights(const void* const (&which)[2], int64_t d) const { return static_cast<const T*>(which[d]); }
    const T* token_x(int64_t b, int64_t t) const { return static_cast<const T*>(q.x) + (b * q.width + t) * q.inputs; }
    T* token_h(int64_t d, int64_t b, int64_t t) const {
        return static_cast<T*>(q.output) + (b * q.width + t) * features + d * q.hidden;
    }
    template <class P> static P* state(P* p, const Problem& q, int64_t d, int64_t b) {
        return p ? p + (d * q.batch + b) * q.hidden : nullptr;
    }
    const T* h_0(int64_t d, int64_t b) const { return state(static_cast<const T*>(q.h_0), q, d, b); }
    const T* c_0(int64_t d, int64_t b) const { return state(static_cast<const T*>(q.c_0), q, d, b); }
    // The token that direction d reads in its step s of a sequence, counted from the sequence's start.
    int64_t time(int64_t d, int64_t b, int64_t s) const { return d == 0 ? s : q.lengths[b] - 1 - s; }

    // ---- the order of gates in a panel -------------------------------------------------------------------------
    // LSTM i f g o. GRU n r z m, where n is the summand of x and m that of h, which the reset gate scales: the input
    // product fills the first three, the recurrent product the last three. SRN: four vectors of units.

    int from_x() const { return q.cell == GRU ? 3 : WIDE; }     // vectors of a panel that depend on x
    int skip_h() const { return q.cell == GRU ? 1 : 0; }        // the first vector that depends on h
    // Row of `weight_ih` (side 0) or `weight_hh` (side 1) of a stored column; -1: none.
    int64_t weight_row(int side, int64_t column) const {
        int64_t unit, gate;
        if (is_simple(q.cell)) {
            unit = column, gate = 0;
        } else {
            unit = column / PANEL * LANES + column % LANES;
            gate = column % PANEL / LANES;
            if (q.cell == GRU) {
                static const int table[2][4] = {{2, 0, 1, -1}, {-1, 0, 1, 2}};
                gate = table[side][gate];
            }
        }
        return unit < q.hidden && gate >= 0 ? gate * q.hidden + unit : -1;
    }
    int64_t panels() const { return (columns + PANEL - 1) / PANEL; }
    int width_of(int64_t panel) const { return int(std::min<int64_t>(WIDE, columns / LANES - panel * WIDE)); }

    // ---- forward -----------------------------------------------------------------------------------------------

    int64_t packed_stride() const { return (q.inputs + q.hidden + 1) * PANEL; }
    int64_t packed_size() const { return q.directions * panels() * packed_stride(); }
    bool pack(T* packed) const {
        auto one = [&](int64_t n) { pack_forward(n / panels(), n % panels(), packed + n * packed_stride()); };
        return seqtwin::parallel_for(q.directions * panels(), threads(), one);
    }

    // Per panel: the bias; then for every input, then every unit, its weights to the panel's columns.
    void pack_forward(int64_t d, int64_t panel, T* at) const {
        {
            int wide = width_of(panel);
            for (int64_t j = 0; j < wide * LANES; j++) {
                int64_t from_input = weight_row(0, panel * PANEL + j), from_hidden = weight_row(1, panel * PANEL + j);
                at[j] = (from_input < 0 ? T(0) : weights(q.bias_ih, d)[from_input]) +
                        (from_hidden < 0 ? T(0) : weights(q.bias_hh, d)[from_hidden]);
            }
            at += PANEL;
            int first = 0, count = std::min(wide, from_x());
            for (int side = 0; side < 2; side++) {
                int64_t depth = side == 0 ? q.inputs : q.hidden;
                const T* weight = weights(side == 0 ? q.weight_ih : q.weight_hh, d);
                for (int64_t start = 0; start < depth; start += 16) {  // a transposed block of 16 rows stays in the cache
                    int64_t end = std::min(depth, start + 16);
                    for (int64_t j = 0; j < count * LANES; j++) {
                        int64_t row = weight_row(side, panel * PANEL + first * LANES + j);
                        for (int64_t k = start; k < end; k++)
                            at[k * count * LANES + j] = row < 0 ? T(0) : weight[row * depth + k];
                    }
                }
                at += depth * count * LANES;
                first = skip_h(), count = wide - first;
            }
        }
    }

    struct Place {  // one row at one step of one direction
        const T* x;
        const T* sums;  // biases and products of x, in place of x; or null
        const T* h_before;  // null at the start of a sequence without an initial state
        T* h;
        T* gates;  // stored, or null
        T* c_before;
        T* c;
    };

    // Biases plus products of inputs: what a panel's sums start with.
    template <int C, int R, int NV> void input_sums(V (&sums)[R][NV], const T* const* x, const T* packed) const {
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) sums[r][v] = load(packed + v * LANES);
        part<R, NV, 0, C == GRU ? 3 : NV>(sums, x, q.inputs, packed + PANEL);
    }

    template <int C, int R, int NV> void forward_tile(const Place* place, int64_t panel, const T* packed) const {
        constexpr int X = C == GRU ? 3 : NV, SKIP = C == GRU ? 1 : 0;
        const T* a[R];
        V sums[R][NV];
        if (place[0].sums) {
            for (int r = 0; r < R; r++)
                for (int v = 0; v < NV; v++) sums[r][v] = load(place[r].sums + panel * PANEL + v * LANES);
        } else {
            for (int r = 0; r < R; r++) a[r] = place[r].x;
            input_sums<C, R, NV>(sums, a, packed);
        }
        if (place[0].h_before) {
            for (int r = 0; r < R; r++) a[r] = place[r].h_before;
            part<R, NV, SKIP, NV - SKIP>(sums, a, q.hidden, packed + PANEL + q.inputs * X * LANES);
        }
        for (int r = 0; r < R; r++) {
            if (is_simple(C)) {
                for (int v = 0; v < NV; v++) {
                    int64_t unit = (panel * WIDE + v) * LANES;
                    V h = tanh(sums[r][v]);
                    if (C == RESIDUAL_SRN) {  // for backward: h minus the previous state would have fewer digits
                        if (place[r].gates) store(place[r].gates + unit, h);
                        if (place[r].h_before) h += load(place[r].h_before + unit, q.hidden - unit);
                    }
                    store(place[r].h + unit, h, q.hidden - unit);
                }
                continue;
            }
            int64_t unit = panel * LANES, left = q.hidden - unit;
            V kept[4], h;
            if (C == LSTM) {
                V i = sigmoid(sums[r][0]), f = sigmoid(sums[r][1]), g = tanh(sums[r][2 % NV]), o = sigmoid(sums[r][3 % NV]);
                V c = f * load(place[r].c_before + unit) + i * g;
                store(place[r].c + unit, c);
                h = o * tanh(c);
                kept[0] = i, kept[1] = f, kept[2] = g, kept[3] = o;
            } else {
                V reset = sigmoid(sums[r][1]), z = sigmoid(sums[r][2 % NV]), m = sums[r][3 % NV];
                V n = tanh(sums[r][0] + reset * m);
                V before = place[r].h_before ? load(place[r].h_before + unit, left) : V{};
                h = n + z * (before - n);
                kept[0] = n, kept[1] = reset, kept[2] = z, kept[3] = m;
            }
            store(place[r].h + unit, h, left);
            if (place[r].gates)
                for (int v = 0; v < 4; v++) store(place[r].gates + panel * PANEL + v * LANES, kept[v]);
        }
    }

    // A product into the vectors FIRST .. FIRST + COUNT - 1 of the sums.
    template <int R, int NV, int FIRST, int COUNT>
    static void part(V (&sums)[R][NV], const T* const* a, int64_t depth, const T* b) {
        V mine[R][COUNT];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < COUNT; v++) mine[r][v] = sums[r][FIRST + v];
        product<R, COUNT>(mine, a, depth, b);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < COUNT; v++) sums[r][FIRST + v] = mine[r][v];
    }

    // Rows [0, count) in groups of at most ROWS; `f` gets the size of a group as a constant, and its first row.
    template <class F> static void in_groups(int64_t count, F f) {
        int64_t row = 0;
        for (; row + ROWS <= count; row += ROWS) f(std::integral_constant<int, ROWS>(), row);
        switch (count - row) {
            case 5: f(std::integral_constant<int, std::min(5, ROWS)>(), row); break;
            case 4: f(std::integral_constant<int, std::min(4, ROWS)>(), row); break;
            case 3: f(std::integral_constant<int, std::min(3, ROWS)>(), row); break;
            case 2: f(std::integral_constant<int, 2>(), row); break;
            case 1: f(std::integral_constant<int, 1>(), row); break;
        }
    }
    template <class F> static void with_width(int64_t wide, F f) {
        switch (wide) {
            case 4: f(std::integral_constant<int, 4>()); break;
            case 3: f(std::integral_constant<int, 3>()); break;
            case 2: f(std::integral_constant<int, 2>()); break;
            case 1: f(std::integral_constant<int, 1>()); break;
        }
    }

    // A panel of a cell with gates is complete; the units of a simple cell may end within the last one.
    template <int C, class F> void with_panel(int64_t panel, F f) const {
        if constexpr (is_simple(C)) {
            with_width(width_of(panel), f);
        } else {
            f(std::integral_constant<int, WIDE>());
        }
    }

    // ---- work sharing ------------------------------------------------------------------------------------------
    // A work item is a direction and some rows, as sequences are independent. Rows are assigned round-robin, longest
    // first, so that items take equal time.

    int64_t threads() const {
        double flops = 2.0 * tokens * q.directions * (q.inputs + q.hidden) * gates * q.hidden;
        return flops < 4e6 ? 1 : q.threads;
    }
    int64_t parts() const {
        int64_t count = threads() % q.directions == 0 ? threads() / q.directions : threads();
        return std::max<int64_t>(1, std::min(count, q.batch));
    }
    std::vector<int64_t> rows_of(int64_t part) const {
        std::vector<int64_t> rows;
        for (int64_t n = part; n < q.batch; n += parts()) rows.push_back(order[n]);
        return rows;
    }

    template <int C> void forward_item(int64_t d, const std::vector<int64_t>& rows, const T* packed) const {
        int64_t count = rows.size();
        Buffer memory(sizeof(T) * padded * count);
        T* cells = memory.as<T>();
        if (C == LSTM)
            for (int64_t r = 0; r < count; r++) {
                std::fill(cells + r * padded, cells + (r + 1) * padded, T(0));
                if (const T* start = c_0(d, rows[r])) std::copy(start, start + q.hidden, cells + r * padded);
            }
        for (int64_t b : rows)
            for (int64_t t = q.lengths[b]; t < q.width; t++)
                std::fill(token_h(d, b, t), token_h(d, b, t) + q.hidden, T(0));
        std::vector<Place> place(count);
        int64_t active = count;
        for (int64_t s = 0; s < q.lengths[rows[0]]; s++) {
            if (seqtwin::interrupted()) return;
            while (q.lengths[rows[active - 1]] <= s) active--;
            for (int64_t r = 0; r < active; r++) {
                int64_t b = rows[r], t = time(d, b, s), token = offset[b] + t;
                Place& p = place[r];
                p.x = q.ids ? nullptr : token_x(b, t);
                p.sums = nullptr;
                if (q.ids) {
                    int64_t id = q.ids[b * q.width + t];
                    p.x = row_of_table(id);
                    if (q.sums) p.sums = sums_of(id, d);
                }
                p.h_before = s > 0 ? token_h(d, b, time(d, b, s - 1)) : h_0(d, b);
                p.h = token_h(d, b, t);
                p.gates = q.saved ? gate_store[d] + token * columns : nullptr;
                p.c_before = p.c = cells + r * padded;
                if (C == LSTM && q.saved) {
                    p.c = cell_store[d] + token * padded;
                    if (s > 0) p.c_before = cell_store[d] + (offset[b] + time(d, b, s - 1)) * padded;
                }
            }
            for (int64_t panel = 0; panel < panels(); panel++) {
                const T* weight = packed + panel * packed_stride();
                with_panel<C>(panel, [&](auto wide) {
                    in_groups(active, [&](auto size, int64_t row) {
                        forward_tile<C, size(), wide()>(&place[row], panel, weight);
                    });
                });
            }
            for (int64_t r = active; r-- > 0 && q.lengths[rows[r]] == s + 1;) {
                if (T* to = state(static_cast<T*>(q.h_n), q, d, rows[r])) std::copy(place[r].h, place[r].h + q.hidden, to);
                if (C == LSTM)
                    if (T* to = state(static_cast<T*>(q.c_n), q, d, rows[r]))
                        std::copy(place[r].c, place[r].c + q.hidden, to);
            }
        }
    }

    // ---- inputs from a table -----------------------------------------------------------------------------------
    // The biases plus the product of a word's vector are the same wherever the word occurs. They are computed once, in the
    // order of additions of `forward_tile`, so results have the same bits as without the table.

    std::vector<T> zeros;
    const T* row_of_table(int64_t id) const {
        return id == 0 ? zeros.data() : static_cast<const T*>(q.table) + id * q.inputs;
    }
    T* sums_of(int64_t id, int64_t d) const {
        return static_cast<T*>(q.sums) + (id * q.directions + d) * panels() * PANEL;
    }

    template <int C> void sums_of_block(const int64_t* ids, int64_t count, int64_t d, const T* packed) const {
        for (int64_t panel = 0; panel < panels(); panel++)
            with_panel<C>(panel, [&](auto wide) {
                in_groups(count, [&](auto size, int64_t first) {
                    constexpr int R = size(), NV = wide();
                    const T* x[R];
                    V sums[R][NV];
                    for (int r = 0; r < R; r++) x[r] = row_of_table(ids[first + r]);
                    input_sums<C, R, NV>(sums, x, packed + panel * packed_stride());
                    for (int r = 0; r < R; r++)
                        for (int v = 0; v < NV; v++)
                            store(sums_of(ids[first + r], d) + panel * PANEL + v * LANES, sums[r][v]);
                });
            });
    }

    // Computes the sums of the words that no earlier call had.
    bool complete_sums(const T* packed) const {
        std::vector<int64_t> found;
        found.reserve(tokens);
        for (int64_t b = 0; b < q.batch; b++)
            for (int64_t t = 0; t < q.lengths[b]; t++) {
                int64_t id = q.ids[b * q.width + t];
                if (!q.known[id]) q.known[id] = 1, found.push_back(id);
            }
        int64_t count = found.size(), blocks = (count + BLOCK - 1) / BLOCK;
        auto block = [&](int64_t n) {
            if (seqtwin::interrupted()) return;
            int64_t d = n / blocks, first = n % blocks * BLOCK;
            const int64_t* ids = found.data() + first;
            const T* mine = packed + d * panels() * packed_stride();
            int64_t size = std::min(BLOCK, count - first);
            if (is_simple(q.cell)) sums_of_block<SRN>(ids, size, d, mine);
            if (q.cell == GRU) sums_of_block<GRU>(ids, size, d, mine);
            if (q.cell == LSTM) sums_of_block<LSTM>(ids, size, d, mine);
        };
        bool done = seqtwin::parallel_for(q.directions * blocks, threads(), block);
        if (!done)
            for (int64_t id : found) q.known[id] = 0;
        return done;
    }

    bool forward() const {
        Buffer memory(q.packed ? 0 : sizeof(T) * packed_size());
        const T* packed = q.packed ? static_cast<const T*>(q.packed) : memory.as<T>();
        if (!q.packed && !pack(memory.as<T>())) return false;
        if (q.ids && q.sums && !complete_sums(packed)) return false;
        auto item = [&](int64_t n) {
            int64_t d = n / parts();
            auto rows = rows_of(n % parts());
            const T* mine = packed + d * panels() * packed_stride();
            if (q.cell == SRN) forward_item<SRN>(d, rows, mine);
            if (q.cell == RESIDUAL_SRN) forward_item<RESIDUAL_SRN>(d, rows, mine);
            if (q.cell == GRU) forward_item<GRU>(d, rows, mine);
            if (q.cell == LSTM) forward_item<LSTM>(d, rows, mine);
        };
        return seqtwin::parallel_for(q.directions * parts(), threads(), item);
    }

    // ---- backward: the recurrent pass --------------------------------------------------------------------------
    // Iterates backward over the steps and replaces the gates stored by forward by the loss gradients of their
    // pre-activations.

    int64_t used_columns() const { return q.cell == GRU ? columns / WIDE * 3 : columns; }
    // sums += gradients of one token's gates (from column `skip` vectors on) times packed weights
    template <bool IS_GRU, int R, int NV>
    void times_gates(V (&sums)[R][NV], const T* const* gates_of, int skip, const T* packed) const {
        if constexpr (IS_GRU) {
            const T* a[R];
            for (int64_t unit = 0; unit < units; unit++, packed += 3 * LANES * NV * LANES) {
                for (int r = 0; r < R; r++) a[r] = gates_of[r] + unit * PANEL + skip * LANES;
                product<R, NV>(sums, a, 3 * LANES, packed);
            }
        } else {
            product<R, NV>(sums, gates_of, columns, packed);
        }
    }
    int64_t wide_panels(int64_t size) const { return (size + PANEL - 1) / PANEL; }
    static int wide_of(int64_t size, int64_t panel) {
        return int(std::min<int64_t>(WIDE, (size - panel * PANEL + LANES - 1) / LANES));
    }
    // For one panel of `size` inputs or units: for every stored column, its weights to the panel's features.
    void pack_backward(int side, int64_t d, int64_t size, int64_t panel, T* at) const {
        const T* weight = weights(side == 0 ? q.weight_ih : q.weight_hh, d);
        int64_t first = panel * PANEL, wide = wide_of(size, panel) * LANES, real = std::min(wide, size - first);
        for (int64_t column = 0; column < columns; column++) {
            if (q.cell == GRU && column % PANEL / LANES == (side == 0 ? 3 : 0)) continue;
            int64_t row = weight_row(side, column);
            std::fill(at, at + wide, T(0));
            if (row >= 0) std::copy(weight + row * size + first, weight + row * size + first + real, at);
            at += wide;
        }
    }

    struct Step {  // one row at one step of one direction, in backward
        const T* gates_after;  // gradients of the following step
        T* gates;
        const T* h;
        const T* h_before;  // or null
        const T* c;
        const T* c_before;
        const T* d_output;  // or null
        T* carry;           // [padded]: gradient of h (GRU, residual SRN) or c (LSTM) that bypasses the weights
        const T* start;     // gradient of the final state, for a row that starts here, or null
        T* d_h_0;
    };

    enum Kind { FIRST, INNER, INITIAL };  // the last step of a sequence; one before it; the initial state

    template <int C, int R, int NV>
    void backward_tile(Kind kind, const Step* step, int64_t panel, const T* packed) const {
        V sums[R][NV];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) sums[r][v] = V{};
        if (kind != FIRST) {
            const T* a[R];
            for (int r = 0; r < R; r++) a[r] = step[r].gates_after;
            times_gates<C == GRU, R, NV>(sums, a, 1, packed);
        }
        for (int r = 0; r < R; r++) {
            const Step& p = step[r];
            for (int v = 0; v < NV; v++) {
                int64_t unit = panel * PANEL + v * LANES, left = q.hidden - unit;
                V dh = sums[r][v];
                if (kind == FIRST && p.start) dh += load(p.start + unit, left);
                if ((C == GRU || C == RESIDUAL_SRN) && kind != FIRST) dh += load(p.carry + unit);
                if (kind == INITIAL) {
                    store(p.d_h_0 + unit, dh, left);
                    continue;
                }
                if (p.d_output) dh += load(p.d_output + unit, left);
                if (is_simple(C)) {
                    V step = C == SRN ? load(p.h + unit, left) : load(p.gates + unit);
                    store(p.gates + unit, dh * (T(1) - step * step));
                    if (C == RESIDUAL_SRN) store(p.carry + unit, dh);
                    continue;
                }
                T* kept = p.gates + unit * WIDE;
                V k[4];
                for (int gate = 0; gate < 4; gate++) k[gate] = load(kept + gate * LANES);
                if (C == LSTM) {
                    V i = k[0], f = k[1], g = k[2], o = k[3], c = tanh(load(p.c + unit));
                    V dc = load(p.carry + unit) + dh * o * (T(1) - c * c);
                    store(kept, dc * g * i * (T(1) - i));
                    store(kept + LANES, dc * load(p.c_before + unit) * f * (T(1) - f));
                    store(kept + 2 * LANES, dc * i * (T(1) - g * g));
                    store(kept + 3 * LANES, dh * c * o * (T(1) - o));
                    store(p.carry + unit, dc * f);
                } else {
                    V n = k[0], reset = k[1], z = k[2], m = k[3];
                    V before = p.h_before ? load(p.h_before + unit, left) : V{};
                    V dn = dh * (T(1) - z) * (T(1) - n * n);
                    store(kept, dn);
                    store(kept + LANES, dn * m * reset * (T(1) - reset));
                    store(kept + 2 * LANES, dh * (before - n) * z * (T(1) - z));
                    store(kept + 3 * LANES, dn * reset);
                    store(p.carry + unit, dh * z);
                }
            }
        }
    }

    template <int C> void backward_item(int64_t d, const std::vector<int64_t>& rows, const T* packed) const {
        int64_t count = rows.size();
        Buffer carried(sizeof(T) * padded * count), initial(sizeof(T) * padded * count);
        T *carry = carried.as<T>(), *c_start = initial.as<T>();
        std::fill(carry, carry + padded * count, T(0));
        std::fill(c_start, c_start + padded * count, T(0));
        for (int64_t r = 0; r < count; r++) {
            if (C != LSTM) continue;
            if (const T* from = state(static_cast<const T*>(q.d_c_n), q, d, rows[r]))
                std::copy(from, from + q.hidden, carry + r * padded);
            if (const T* from = c_0(d, rows[r])) std::copy(from, from + q.hidden, c_start + r * padded);
        }
        std::vector<Step> step(count);
        auto all_panels = [&](int64_t from, int64_t to, Kind kind) {
            for (int64_t panel = 0; panel < wide_panels(q.hidden); panel++)
                with_width(wide_of(q.hidden, panel), [&](auto wide) {
                    in_groups(to - from, [&](auto size, int64_t row) {
                        backward_tile<C, size(), wide()>(kind, &step[from + row], panel,
                                                         packed + panel * used_columns() * PANEL);
                    });
                });
        };
        int64_t active = 0;
        for (int64_t s = q.lengths[rows[0]] - 1; s >= 0; s--) {
            if (seqtwin::interrupted()) return;
            int64_t inner = active;  // these have a following step
            while (active < count && q.lengths[rows[active]] > s) active++;
            for (int64_t r = 0; r < active; r++) {
                int64_t b = rows[r], t = time(d, b, s), token = offset[b] + t;
                Step& p = step[r];
                p.gates_after = p.gates;
                p.gates = gate_store[d] + token * columns;
                p.h = token_h(d, b, t);
                p.h_before = s > 0 ? token_h(d, b, time(d, b, s - 1)) : h_0(d, b);
                if (C == LSTM) {
                    p.c = cell_store[d] + token * padded;
                    p.c_before = s > 0 ? cell_store[d] + (offset[b] + time(d, b, s - 1)) * padded : c_start + r * padded;
                }
                p.d_output = q.d_output ? static_cast<const T*>(q.d_output) + (b * q.width + t) * features + d * q.hidden
                                        : nullptr;
                p.carry = carry + r * padded;
                p.start = state(static_cast<const T*>(q.d_h_n), q, d, b);
            }
            all_panels(0, inner, INNER);
            all_panels(inner, active, FIRST);
        }
        if (q.d_h_0) {
            for (int64_t r = 0; r < count; r++) {
                step[r].gates_after = step[r].gates;
                step[r].d_h_0 = state(static_cast<T*>(q.d_h_0), q, d, rows[r]);
            }
            all_panels(0, count, INITIAL);
        }
        if (C == LSTM && q.d_c_0)
            for (int64_t r = 0; r < count; r++)
                std::copy(carry + r * padded, carry + r * padded + q.hidden,
                          state(static_cast<T*>(q.d_c_0), q, d, rows[r]));
    }

    // ---- backward: gradients of the inputs ---------------------------------------------------------------------

    std::vector<int64_t> token_places() const {  // of every token, b * L + t
        std::vector<int64_t> place(tokens);
        for (int64_t b = 0; b < q.batch; b++)
            for (int64_t t = 0; t < q.lengths[b]; t++) place[offset[b] + t] = b * q.width + t;
        return place;
    }

    template <bool IS_GRU> void input_block(int64_t block, const int64_t* place, const T* packed) const {
        int64_t first = block * BLOCK, count = std::min(BLOCK, tokens - first);
        for (int64_t panel = 0; panel < wide_panels(q.inputs); panel++)
            with_width(wide_of(q.inputs, panel), [&](auto wide) {
                in_groups(count, [&](auto size, int64_t row) {
                    constexpr int R = size(), NV = wide();
                    V sums[R][NV];
                    for (int r = 0; r < R; r++)
                        for (int v = 0; v < NV; v++) sums[r][v] = V{};
                    for (int64_t d = 0; d < q.directions; d++) {
                        const T* a[R];
                        for (int r = 0; r < R; r++) a[r] = gate_store[d] + (first + row + r) * columns;
                        times_gates<IS_GRU, R, NV>(sums, a, 0, packed + (panel * q.directions + d) * used_columns() * PANEL);
                    }
                    for (int r = 0; r < R; r++) {
                        T* to = static_cast<T*>(q.d_x) + place[first + row + r] * q.inputs + panel * PANEL;
                        for (int v = 0; v < NV; v++)
                            store(to + v * LANES, sums[r][v], q.inputs - panel * PANEL - v * LANES);
                    }
                });
            });
    }

    // ---- backward: gradients of the weights --------------------------------------------------------------------
    // A panel of gate columns against every feature of x (side 0) and of the state before (side 1). Sums of a chunk of
    // tokens stay in registers; chunks are added in order.

    int64_t depth(int side) const { return side == 0 ? q.inputs : q.hidden; }
    // Where `pack_features` puts the features from `row` on of a side.
    T* packed_features(T* memory, int side, int64_t row) const { return memory + ((side ? q.inputs : 0) + row) * CHUNK; }

    // For a chunk of tokens: per group of features, token by token, so that a tile reads contiguous memory.
    void pack_features(const T* const* features_of, int side, int64_t count, T* memory) const {
        in_groups(depth(side), [&](auto size, int64_t row) {
            T* to = packed_features(memory, side, row);
            for (int64_t n = 0; n < count; n++, to += size())
                for (int r = 0; r < size(); r++) to[r] = features_of[n] ? features_of[n][row + r] : T(0);
        });
    }
    // The gates of a panel's columns of a chunk of tokens, and their sums.
    void pack_gates(const T* gate, int wide, int64_t count, T* copy, T* sums) const {
        with_width(wide, [&](auto width) {
            constexpr int NV = width();
            V sum[NV] = {};
            for (int64_t n = 0; n < count; n++, gate += columns, copy += NV * LANES)
                for (int v = 0; v < NV; v++) {
                    V values = load(gate + v * LANES);
                    store(copy + v * LANES, values);
                    sum[v] += values;
                }
            for (int v = 0; v < NV; v++) store(sums + v * LANES, load(sums + v * LANES) + sum[v]);
        });
    }
    // sums[r][v] over tokens of feature r times column v, added to `to` [R, PANEL].
    template <int R, int NV>
    static void weight_tile(T* to, int64_t count, const T* feature, const T* gate, int64_t stride) {
        V sums[R][NV];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) sums[r][v] = V{};
        for (int64_t n = 0; n < count; n++, gate += stride, feature += R) {
            V values[NV];
            for (int v = 0; v < NV; v++) values[v] = load(gate + v * LANES);
            for (int r = 0; r < R; r++) {
                V one = all(feature[r]);
                for (int v = 0; v < NV; v++) sums[r][v] += one * values[v];
            }
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) {
                T* at = to + r * PANEL + v * LANES;
                store(at, load(at) + sums[r][v]);
            }
    }

    // Share `share` of `shares` of the gate panels of a direction.
    void weight_gradients(int64_t d, int64_t share, int64_t shares) const {
        int64_t low = share * panels() / shares, high = (share + 1) * panels() / shares, all_features = q.inputs + q.hidden;
        Buffer features_memory(sizeof(T) * CHUNK * all_features), gates_memory(sizeof(T) * CHUNK * PANEL);
        Buffer sums_memory(sizeof(T) * (high - low) * (all_features + 1) * PANEL);
        T *packed = features_memory.as<T>(), *gates_copy = gates_memory.as<T>(), *sums = sums_memory.as<T>();
        std::fill(sums, sums + (high - low) * (all_features + 1) * PANEL, T(0));
        std::vector<const T*> features_of[2] = {std::vector<const T*>(CHUNK), std::vector<const T*>(CHUNK)};
        int64_t b = 0, t = 0;
        for (int64_t first = 0; first < tokens; first += CHUNK) {
            if (seqtwin::interrupted()) return;
            int64_t count = std::min(CHUNK, tokens - first);
            for (int64_t n = 0; n < count; n++) {
                while (t == q.lengths[b]) b++, t = 0;
                int64_t before = d == 0 ? t - 1 : t + 1;
                features_of[0][n] = token_x(b, t);
                features_of[1][n] = before >= 0 && before < q.lengths[b] ? token_h(d, b, before) : h_0(d, b);
                t++;
            }
            for (int side = 0; side < 2; side++) pack_features(features_of[side].data(), side, count, packed);
            for (int64_t panel = low; panel < high; panel++) {
                T* to = sums + (panel - low) * (all_features + 1) * PANEL;
                int wide = width_of(panel);
                pack_gates(gate_store[d] + first * columns + panel * PANEL, wide, count, gates_copy, to);
                to += PANEL;
                for (int side = 0; side < 2; side++) {
                    int from = side == 0 ? 0 : skip_h(), used = side == 0 ? std::min(wide, from_x()) : wide - from;
                    with_width(used, [&](auto width) {
                        in_groups(depth(side), [&](auto size, int64_t row) {
                            weight_tile<size(), width()>(to + row * PANEL + from * LANES, count,
                                                         packed_features(packed, side, row), gates_copy + from * LANES,
                                                         wide * LANES);
                        });
                    });
                    to += depth(side) * PANEL;
                }
            }
        }
        for (int64_t panel = low; panel < high; panel++)
            for (int side = 0; side < 2; side++)
                unpack_gradients(d, side, panel, sums + (panel - low) * (all_features + 1) * PANEL);
    }
    void unpack_gradients(int64_t d, int side, int64_t panel, const T* sums) const {
        T* bias = static_cast<T*>(side == 0 ? q.d_bias_ih[d] : q.d_bias_hh[d]);
        T* weight = static_cast<T*>(side == 0 ? q.d_weight_ih[d] : q.d_weight_hh[d]);
        const T* from = sums + (1 + (side == 0 ? 0 : q.inputs)) * PANEL;
        for (int64_t start = 0; start < depth(side); start += 16) {  // a transposed block of 16 stays in the cache
            int64_t end = std::min(depth(side), start + 16);
            for (int64_t j = 0; j < width_of(panel) * LANES; j++) {
                int64_t row = weight_row(side, panel * PANEL + j);
                if (row < 0) continue;
                if (start == 0 && bias) bias[row] = sums[j];
                for (int64_t k = start; weight && k < end; k++) weight[row * depth(side) + k] = from[k * PANEL + j];
            }
        }
    }

    template <int C> bool backward_as() const {
        int64_t each = used_columns() * PANEL, hidden_panels = wide_panels(q.hidden), input_panels = wide_panels(q.inputs);
        int64_t recurrent = q.directions * hidden_panels, incoming = q.d_x ? input_panels * q.directions : 0;
        Buffer memory(sizeof(T) * each * (recurrent + incoming));
        T *packed_h = memory.as<T>(), *packed_x = packed_h + recurrent * each;
        auto pack = [&](int64_t n) {
            if (n < recurrent) {
                pack_backward(1, n / hidden_panels, q.hidden, n % hidden_panels, packed_h + n * each);
            } else {
                n -= recurrent;
                pack_backward(0, n % q.directions, q.inputs, n / q.directions, packed_x + n * each);
            }
        };
        auto item = [&](int64_t n) {
            int64_t d = n / parts();
            backward_item<C>(d, rows_of(n % parts()), packed_h + d * hidden_panels * each);
        };
        if (!seqtwin::parallel_for(recurrent + incoming, threads(), pack)) return false;
        if (!seqtwin::parallel_for(q.directions * parts(), threads(), item)) return false;
        std::vector<int64_t> place;
        if (q.d_x) {
            place = token_places();
            for (int64_t b = 0; b < q.batch; b++) {
                T* end = static_cast<T*>(q.d_x) + (b + 1) * q.width * q.inputs;
                std::fill(end - (q.width - q.lengths[b]) * q.inputs, end, T(0));
            }
        }
        // At most as many shares as threads: each packs all features once. Later blocks balance the remaining load.
        int64_t shares = std::min(panels(), (threads() + q.directions - 1) / q.directions);
        int64_t blocks = q.d_x ? (tokens + BLOCK - 1) / BLOCK : 0;
        auto rest = [&](int64_t n) {
            if (n < q.directions * shares) {
                weight_gradients(n / shares, n % shares, shares);
            } else if (!seqtwin::interrupted()) {
                input_block<C == GRU>(n - q.directions * shares, place.data(), packed_x);
            }
        };
        return seqtwin::parallel_for(q.directions * shares + blocks, threads(), rest);
    }

    bool backward() const {
        switch (q.cell) {
            case SRN: return backward_as<SRN>();
            case GRU: return backward_as<GRU>();
            case LSTM: return backward_as<LSTM>();
            default: return backward_as<RESIDUAL_SRN>();
        }
    }
};

template <class T> Build build_of() {
    return {[](const Problem& q, int64_t tokens) { return Layer<T>::saved_bytes(q, tokens); },
            [](const Problem& q) { return Layer<T>(q).panels() * Layer<T>::PANEL; },
            [](const Problem& q) { return sizeof(T) * Layer<T>(q).packed_size(); },
            [](const Problem& q) { return Layer<T>(q).pack(static_cast<T*>(q.packed)); },
            [](const Problem& q) { return Layer<T>(q).forward(); },
            [](const Problem& q) { return Layer<T>(q).backward(); }};
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" Build NAME(seqtwin_build_, TARGET)(bool float64) { return float64 ? build_of<double>() : build_of<float>(); }
