// Runtime of the kernels: threads, buffer cache, Ctrl-C, choice of a build, and the C interface.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "recurrent.h"

extern "C" {
#ifdef SEQTWIN_AVX512
Build seqtwin_build_avx512(bool float64);
TrainingBuild seqtwin_training_avx512(bool float64);
WordBuild seqtwin_words_avx512(bool float64);
NgramBuild seqtwin_ngrams_avx512();
ConvolutionBuild seqtwin_convolution_avx512(bool float64);
#endif
#ifdef SEQTWIN_AVX2
Build seqtwin_build_avx2(bool float64);
TrainingBuild seqtwin_training_avx2(bool float64);
WordBuild seqtwin_words_avx2(bool float64);
NgramBuild seqtwin_ngrams_avx2();
ConvolutionBuild seqtwin_convolution_avx2(bool float64);
#endif
Build seqtwin_build_portable(bool float64);
TrainingBuild seqtwin_training_portable(bool float64);
WordBuild seqtwin_words_portable(bool float64);
NgramBuild seqtwin_ngrams_portable();
ConvolutionBuild seqtwin_convolution_portable(bool float64);
}

namespace seqtwin {

// ---- buffers ------------------------------------------------------------------------------------------------------

namespace {

struct Header {  // stored in the 64 bytes before the returned memory
    size_t capacity;
};
constexpr size_t ALIGNMENT = 64, HUGE_PAGE = size_t(1) << 21, KEPT = 32;
std::mutex store_lock;
std::vector<Header*> store;  // idle buffers, least recently used first

Header* allocate(size_t bytes) {
    // Large sizes are rounded up in steps of an eighth, so that a slightly longer batch reuses a buffer.
    size_t step = ALIGNMENT;
    while (step * 16 < bytes) step *= 2;
    size_t capacity = (bytes + step - 1) / step * step, total = capacity + ALIGNMENT;
    size_t alignment = total >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    total = (total + alignment - 1) / alignment * alignment;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, total) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) madvise(memory, total, MADV_HUGEPAGE);
#endif
    Header* header = static_cast<Header*>(memory);
    header->capacity = capacity;
    return header;
}

}  // namespace

void* take(size_t bytes) {
    bytes = std::max(bytes, size_t(1));
    {
        std::lock_guard<std::mutex> hold(store_lock);
        auto best = store.end();
        for (auto at = store.begin(); at != store.end(); ++at)
            if ((*at)->capacity >= bytes && (*at)->capacity <= 2 * bytes + 65536)
                if (best == store.end() || (*at)->capacity < (*best)->capacity) best = at;
        if (best != store.end()) {
            Header* found = *best;
            store.erase(best);
            return reinterpret_cast<char*>(found) + ALIGNMENT;
        }
    }
    return reinterpret_cast<char*>(allocate(bytes)) + ALIGNMENT;
}

void give_back(void* memory) {
    if (!memory) return;
    Header* header = reinterpret_cast<Header*>(static_cast<char*>(memory) - ALIGNMENT);
    std::lock_guard<std::mutex> hold(store_lock);
    store.push_back(header);
    if (store.size() > KEPT) {
        free(store.front());
        store.erase(store.begin());
    }
}

// ---- Ctrl-C -------------------------------------------------------------------------------------------------------

namespace {

// Functions of Python, called on the calling thread, which released the GIL; no Python header is needed.
void* (*save_thread)();
void (*restore_thread)(void*);
int (*check_signals)();

struct Call {  // one call from Python
    std::atomic<bool> stop{false};
    void* python = nullptr;
    std::chrono::steady_clock::time_point looked = std::chrono::steady_clock::now();
};
thread_local Call* current;    // the call for which this thread works
thread_local bool is_caller;   // this thread made the call

}  // namespace

bool interrupted() {
    Call* call = current;
    if (!call) return false;
    if (is_caller && check_signals && !call->stop) {
        auto now = std::chrono::steady_clock::now();
        if (now - call->looked > std::chrono::milliseconds(50)) {
            call->looked = now;
            restore_thread(call->python);
            if (check_signals() != 0) call->stop = true;  // the exception is set: Python raises it on return
            call->python = save_thread();
        }
    }
    return call->stop;
}

// ---- denormal numbers ----------------------------------------------------------------------------------------------

namespace {

// While the library computes, denormal numbers (below 1e-38, for doubles 1e-308) are flushed to zero. Gradients that
// vanish over hundreds of steps become denormal, and processors are a hundred times slower on them. This is set on
// every thread, so that results do not depend on the number of threads.
struct NoDenormals {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    NoDenormals() { _mm_setcsr(before | 0x8040); }  // results, and operands
    ~NoDenormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    uint64_t before;
    NoDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        asm volatile("msr fpcr, %0" : : "r"(before | (uint64_t(1) << 24)));
    }
    ~NoDenormals() { asm volatile("msr fpcr, %0" : : "r"(before)); }
#endif
};

}  // namespace

// ---- times of tasks -------------------------------------------------------------------------------------------------
// While they are wanted, the calling thread runs all tasks, with the division of work of the threads that were asked for.
// So the times are those of undisturbed tasks, and a machine of any size can be accounted for on a small one.

thread_local Phase phase = OTHER;

namespace {

struct TaskTime {
    int64_t job, phase, number, nanoseconds;
};
std::atomic<bool> timing{false};
std::vector<TaskTime> times;  // of the calling thread
int64_t jobs = 0, tasks_nanoseconds = 0, clock_nanoseconds = 0;  // the last: of one look at the clock

int64_t cpu_nanoseconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * int64_t(1000000000) + now.tv_nsec;
#else
    return int64_t(std::clock()) * (1000000000 / CLOCKS_PER_SEC);
#endif
}

// A look at the CPU clock is a system call of up to a microsecond, as long as some tasks take.
void calibrate_clock() {
    clock_nanoseconds = std::numeric_limits<int64_t>::max();
    for (int n = 0; n < 100; n++) {
        int64_t before = cpu_nanoseconds();
        clock_nanoseconds = std::min(clock_nanoseconds, cpu_nanoseconds() - before);
    }
}

void time_tasks(int64_t count, void (*task)(void*, int64_t), void* context) {
    int64_t job = jobs++, begun = cpu_nanoseconds(), before = begun;
    for (int64_t number = 0; number < count; number++) {
        phase = OTHER;
        task(context, number);
        int64_t now = cpu_nanoseconds();
        times.push_back({job, phase, number, std::max<int64_t>(now - before - clock_nanoseconds, 0)});
        before = now;
    }
    tasks_nanoseconds += before - begun + clock_nanoseconds;  // that of the first look
}

}  // namespace

// ---- threads ------------------------------------------------------------------------------------------------------

namespace {

struct Job {
    void (*task)(void*, int64_t);
    void* context;
    int64_t count;
    std::atomic<int64_t> next{0};
    Call* call;
};

void work(Job& job) {
    for (int64_t number; (number = job.next.fetch_add(1)) < job.count;) job.task(job.context, number);
}

// Threads that sleep between calls. The pool runs one job at a time: if it is busy, the caller runs its job alone.
struct Pool {
    std::mutex busy, lock;
    std::condition_variable wake, done;
    Job* job = nullptr;
    int64_t wanted = 0, running = 0, size = 0;
    uint64_t round = 0;
    int64_t process = 0;

    void helper(int64_t number) {
        NoDenormals whole_life;
        uint64_t seen = 0;
        std::unique_lock<std::mutex> hold(lock);
        for (;;) {
            wake.wait(hold, [&] { return round != seen; });
            seen = round;
            if (number >= wanted || !job) continue;
            Job* mine = job;
            running++;
            hold.unlock();
            current = mine->call;
            is_caller = false;
            work(*mine);
            current = nullptr;
            hold.lock();
            if (--running == 0) done.notify_one();
        }
    }
    void run(Job& mine, int64_t helpers) {
        std::unique_lock<std::mutex> hold(lock);
        while (size < helpers) std::thread(&Pool::helper, this, size++).detach();
        job = &mine;
        wanted = helpers;
        round++;
        wake.notify_all();
        hold.unlock();
        work(mine);
        hold.lock();
        job = nullptr;  // a thread that wakes up only now has nothing to do
        done.wait(hold, [&] { return running == 0; });
    }
};

// Never destroyed: its threads sleep in it until the process ends. A forked child has no threads and starts a new pool.
Pool& pool() {
    static std::mutex lock;
    static Pool* instance = nullptr;
    std::lock_guard<std::mutex> hold(lock);
#if defined(__unix__) || defined(__APPLE__)
    int64_t process = getpid();
#else
    int64_t process = 1;
#endif
    if (!instance || instance->process != process) {
        instance = new Pool;
        instance->process = process;
    }
    return *instance;
}

}  // namespace

bool parallel(int64_t count, int64_t threads, void (*task)(void*, int64_t), void* context) {
    if (timing) {
        time_tasks(count, task, context);
        return !(current && current->stop);
    }
    Job job{task, context, count, {0}, current};
    int64_t helpers = std::min(threads, count) - 1;
    Pool* shared = helpers > 0 ? &pool() : nullptr;
    if (shared && shared->busy.try_lock()) {
        std::lock_guard<std::mutex> hold(shared->busy, std::adopt_lock);
        shared->run(job, helpers);
    } else {
        work(job);
    }
    return !(current && current->stop);
}

namespace {

// ---- the choice of a build ----------------------------------------------------------------------------------------

const char* const NAMES[] = {"portable", "avx2", "avx512"};

bool runs_here(int which) {
    switch (which) {
        case 0: return true;
#if defined(SEQTWIN_AVX2)
        case 1: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(SEQTWIN_AVX512)
        case 2: return __builtin_cpu_supports("avx512f");
#endif
        default: return false;
    }
}

int best() {
    for (int which = 2; which > 0; which--)
        if (runs_here(which)) return which;
    return 0;
}

std::atomic<int> chosen{-1};

int target() {
    if (chosen < 0) chosen = best();
    return chosen;
}
Build build(const Problem& q) {
#if defined(SEQTWIN_AVX512)
    if (target() == 2) return seqtwin_build_avx512(q.float64);
#endif
#if defined(SEQTWIN_AVX2)
    if (target() == 1) return seqtwin_build_avx2(q.float64);
#endif
    return seqtwin_build_portable(q.float64);
}
TrainingBuild training_build(bool float64) {
#if defined(SEQTWIN_AVX512)
    if (target() == 2) return seqtwin_training_avx512(float64);
#endif
#if defined(SEQTWIN_AVX2)
    if (target() == 1) return seqtwin_training_avx2(float64);
#endif
    return seqtwin_training_portable(float64);
}
WordBuild word_build(bool float64) {
#if defined(SEQTWIN_AVX512)
    if (target() == 2) return seqtwin_words_avx512(float64);
#endif
#if defined(SEQTWIN_AVX2)
    if (target() == 1) return seqtwin_words_avx2(float64);
#endif
    return seqtwin_words_portable(float64);
}
NgramBuild ngram_build() {
#if defined(SEQTWIN_AVX512)
    if (target() == 2) return seqtwin_ngrams_avx512();
#endif
#if defined(SEQTWIN_AVX2)
    if (target() == 1) return seqtwin_ngrams_avx2();
#endif
    return seqtwin_ngrams_portable();
}
ConvolutionBuild convolution_build(bool float64) {
#if defined(SEQTWIN_AVX512)
    if (target() == 2) return seqtwin_convolution_avx512(float64);
#endif
#if defined(SEQTWIN_AVX2)
    if (target() == 1) return seqtwin_convolution_avx2(float64);
#endif
    return seqtwin_convolution_portable(float64);
}

template <class Q> int run(const Q& q, bool (*how)(const Q&)) {
    Call call;
    current = &call;
    is_caller = true;
    if (save_thread) call.python = save_thread();
    int result;
    int64_t before = timing ? cpu_nanoseconds() - tasks_nanoseconds : 0;
    try {
        NoDenormals while_it_computes;
        result = how(q) ? 0 : 1;
    } catch (const std::bad_alloc&) {
        result = 2;
    }
    if (timing) {
        int64_t taken = cpu_nanoseconds() - tasks_nanoseconds - before - clock_nanoseconds;
        times.push_back({jobs++, SERIAL, 0, std::max<int64_t>(taken, 0)});
    }
    if (save_thread) restore_thread(call.python);
    current = nullptr;
    return result;
}

// ---- ensembles ----------------------------------------------------------------------------------------------------

int64_t tokens_of(const Problem& q) {
    int64_t tokens = 0;
    for (int64_t b = 0; b < q.batch; b++) tokens += q.lengths[b];
    return tokens;
}

template <class... P> void advance(int64_t bytes, P*&... arrays) {
    ((arrays = arrays ? reinterpret_cast<P*>(reinterpret_cast<uintptr_t>(arrays) + bytes) : nullptr), ...);
}

// Advances from one model's problem to the next; `lengths` last, as `saved` depends on them.
void next_model(Problem& q) {
    const int64_t gates[] = {1, 3, 4, 1};
    int64_t size = q.float64 ? 8 : 4, rows = size * gates[q.cell] * q.hidden;
    advance(build(q).saved_bytes(q, tokens_of(q)), q.saved);
    advance(size * q.batch * q.width * q.inputs, q.x, q.d_x);
    advance(size * q.batch * q.width * q.directions * q.hidden, q.output, q.d_output);
    advance(size * q.directions * q.batch * q.hidden, q.h_0, q.c_0, q.h_n, q.c_n, q.d_h_n, q.d_c_n, q.d_h_0, q.d_c_0);
    for (int64_t d = 0; d < q.directions; d++) {
        advance(rows * q.inputs, q.weight_ih[d], q.d_weight_ih[d]);
        advance(rows * q.hidden, q.weight_hh[d], q.d_weight_hh[d]);
        advance(rows, q.bias_ih[d], q.bias_hh[d], q.d_bias_ih[d], q.d_bias_hh[d]);
    }
    advance(sizeof(int64_t) * q.batch, q.lengths);
}

// Every model runs on one thread: the results equal those of the model alone, bit by bit.
template <bool (*Build::*way)(const Problem&)> bool each_model(const Problem& q) {
    if (q.models == 1) return (build(q).*way)(q);
    std::vector<Problem> models(q.models, q);
    for (int64_t m = 0; m < q.models; m++) {
        if (m > 0) models[m] = models[m - 1], next_model(models[m]);
        models[m].models = models[m].threads = 1;
    }
    auto one = [&](int64_t m) {
        if (!interrupted()) (build(q).*way)(models[m]);
    };
    return parallel_for(q.models, q.threads, one);
}

}  // namespace
}  // namespace seqtwin

// ---- the C interface ----------------------------------------------------------------------------------------------

extern "C" {

// PyEval_SaveThread, PyEval_RestoreThread, PyErr_CheckSignals. Without them the GIL is not released.
void seqtwin_python(void* save, void* restore, void* check) {
    seqtwin::save_thread = reinterpret_cast<void* (*)()>(save);
    seqtwin::restore_thread = reinterpret_cast<void (*)(void*)>(restore);
    seqtwin::check_signals = reinterpret_cast<int (*)()>(check);
}

// Name of the build that runs: `avx512`, `avx2` or `portable`.
const char* seqtwin_target() { return seqtwin::NAMES[seqtwin::target()]; }

// Selects a build: 0 portable, 1 avx2, 2 avx512, -1 the best; returns 0 if it is not available. For tests.
int seqtwin_choose(int which) {
    if (which >= 0 && !seqtwin::runs_here(which)) return 0;
    seqtwin::chosen = which;
    return 1;
}

void* seqtwin_take(size_t bytes) {
    try {
        return seqtwin::take(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void seqtwin_give_back(void* memory) { seqtwin::give_back(memory); }

// Starts (1) or ends (0) timing of the tasks of one thread's calls; earlier times are discarded at a start.
void seqtwin_time_tasks(int on) {
    if (on) {
        seqtwin::calibrate_clock();
        seqtwin::times.clear();
        seqtwin::times.reserve(1 << 16);  // so that no task waits for new memory
        seqtwin::jobs = 0;
    }
    seqtwin::timing = on;
}
// Copies up to `size` tasks to `to` [size, 4]: job, phase, number, and CPU nanoseconds; returns the number of all.
int64_t seqtwin_task_times(int64_t* to, int64_t size) {
    int64_t count = seqtwin::times.size();
    for (int64_t n = 0; n < std::min(count, size); n++) {
        const auto& time = seqtwin::times[n];
        for (int64_t value : {time.job, time.phase, time.number, time.nanoseconds}) *to++ = value;
    }
    return count;
}

size_t seqtwin_saved_bytes(const Problem* q, int64_t tokens) { return seqtwin::build(*q).saved_bytes(*q, tokens); }

// Inference with weights that are packed once, for the build that runs now. The batch of these problems is empty.
int64_t seqtwin_columns(const Problem* q) { return seqtwin::build(*q).columns(*q); }
size_t seqtwin_packed_bytes(const Problem* q) { return seqtwin::build(*q).packed_bytes(*q); }
int seqtwin_pack(const Problem* q) { return seqtwin::run(*q, seqtwin::build(*q).pack); }

// 0: done. 1: interrupted, with Python's exception set. 2: out of memory.
int seqtwin_forward(const Problem* q) { return seqtwin::run(*q, seqtwin::each_model<&Build::forward>); }

// Forward on checked lengths, which are copied. With `keep`, `saved` and the copy for backward are one block that
// `seqtwin_give_back` of `saved` releases. 3: a length is not within 1 .. width, and nothing was done.
int seqtwin_start(Problem* q, int64_t keep) {
    int64_t tokens = 0, count = q->models * q->batch;
    for (int64_t b = 0; b < count; b++) {
        if (q->lengths[b] < 1 || q->lengths[b] > q->width) return 3;
        tokens += q->lengths[b];
    }
    size_t kept = keep ? (seqtwin_saved_bytes(q, tokens) + 63) / 64 * 64 : 0;
    void* memory = seqtwin_take(kept + sizeof(int64_t) * count);
    if (!memory) return 2;
    int64_t* copy = reinterpret_cast<int64_t*>(static_cast<char*>(memory) + kept);
    std::copy(q->lengths, q->lengths + count, copy);
    q->lengths = copy;
    q->saved = keep ? memory : nullptr;
    int code = seqtwin_forward(q);
    if (!keep) {
        q->lengths = nullptr;
        seqtwin_give_back(memory);
    }
    return code;
}
int seqtwin_backward(const Problem* q) { return seqtwin::run(*q, seqtwin::each_model<&Build::backward>); }

// A stack of layers, the first one first: each reads the output of the one before it, without anything between them.
int seqtwin_start_layers(Problem* q, int64_t layers, int64_t keep) {
    int code = 0;
    for (int64_t n = 0; n < layers && code == 0; n++) code = seqtwin_start(q + n, keep);
    return code;
}
// Each layer's `saved` is released when it was read. The gradients between the layers are in the library's memory.
int seqtwin_backward_layers(Problem* q, int64_t layers) {
    int code = 0;
    void* above = nullptr;  // the gradient of a layer's output
    for (int64_t n = layers - 1; n >= 0 && code == 0; n--) {
        Problem& own = q[n];
        void* below = nullptr;
        if (n > 0) {
            below = seqtwin_take((own.float64 ? 8 : 4) * own.models * own.batch * own.width * own.inputs);
            if (!below) code = 2;
            own.d_x = below;
        }
        if (n < layers - 1) own.d_output = above;
        if (code == 0) code = seqtwin_backward(&own);
        seqtwin_give_back(own.saved);
        own.saved = nullptr;
        seqtwin_give_back(above);
        above = below;
    }
    seqtwin_give_back(above);
    return code;
}

// Numbers the distinct ids of [tokens], without 0 (PAD), by first occurrence: `row` [tokens] is each token's number or
// -1, `rows` [tokens] the id of each number, `slot` [ids] the number of an id or -1. Returns the number of ids.
int64_t seqtwin_number_rows(const int64_t* ids, int64_t tokens, int64_t* rows, int32_t* row, int32_t* slot) {
    int64_t count = 0;
    for (int64_t n = 0; n < tokens; n++) {
        int64_t id = ids[n];
        if (id != 0 && slot[id] < 0) {
            slot[id] = int32_t(count);
            rows[count++] = id;
        }
        row[n] = id == 0 ? -1 : slot[id];
    }
    return count;
}
int seqtwin_dropout_mask(const DropoutMask* q) { return seqtwin::run(*q, seqtwin::training_build(false).dropout_mask); }
int seqtwin_look_up_rows(const RowVectors* q) {
    return seqtwin::run(*q, seqtwin::training_build(q->float64).look_up_rows);
}
int seqtwin_sum_rows(const RowVectors* q) { return seqtwin::run(*q, seqtwin::training_build(q->float64).sum_rows); }
int seqtwin_adam_rows(const AdamRows* q) { return seqtwin::run(*q, seqtwin::training_build(q->float64).adam_rows); }
int seqtwin_pool(const Pooling* q) { return seqtwin::run(*q, seqtwin::training_build(q->float64).pool); }
int seqtwin_word_steps(const WordSteps* q) { return seqtwin::run(*q, seqtwin::word_build(q->float64).train); }
int seqtwin_word_noise(const WordNoise* q) { return seqtwin::run(*q, seqtwin::word_build(false).noise); }
int seqtwin_ngram_pass(const NgramPass* q) { return seqtwin::run(*q, seqtwin::ngram_build().pass); }
size_t seqtwin_convolution_bytes(const Convolution* q) {
    return seqtwin::convolution_build(q->float64).packed_bytes(*q);
}
int seqtwin_pack_convolution(const Convolution* q) {
    return seqtwin::run(*q, seqtwin::convolution_build(q->float64).pack);
}
int seqtwin_convolve(const Convolution* q) {
    return seqtwin::run(*q, seqtwin::convolution_build(q->float64).convolve);
}
int seqtwin_convolution_gradients(const Convolution* q) {
    return seqtwin::run(*q, seqtwin::convolution_build(q->float64).gradients);
}
int seqtwin_unpool(const Pooling* q) { return seqtwin::run(*q, seqtwin::training_build(q->float64).unpool); }
int seqtwin_perturb(const Perturbation* q) { return seqtwin::run(*q, seqtwin::training_build(q->float64).perturb); }

}  // extern "C"
