// The kernels for the CPU: a CUDA thread is a thread, a block's barrier a barrier.
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

using std::size_t;
struct Index { unsigned x, y, z; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim;
static std::barrier<>* block_barrier;

#define __device__
#define __global__
#define __shared__ static
#define __syncthreads() block_barrier->arrive_and_wait()
template <typename T> static T atomicAdd(T* where, T value) { return __atomic_fetch_add(where, value, __ATOMIC_RELAXED); }
static unsigned bits_of(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
static float float_of(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }

#define BLOCK 32
#include "letterbox.cu"
#include "decode.cu"

extern "C" void host_letterbox(const LetterboxImage* images, void* out, const LetterboxTarget* target, int batch) {
    blockDim = {1, 1, 1};
    for (unsigned z = 0; z < (unsigned)batch; ++z)
        for (unsigned y = 0; y < (unsigned)target->height; ++y)
            for (unsigned x = 0; x < (unsigned)target->width; ++x) {
                blockIdx = {x, y, z};
                letterbox(images, out, *target);
            }
}

extern "C" void host_decode(const float* outputs, const float* thresholds, u32* keys, int* classes, int* invalid,
                            Box* boxes, int* labels, char* results, int class_count, int anchors, int most,
                            float iou_threshold, int batch) {
    blockDim = {1, 1, 1};
    for (unsigned y = 0; y < (unsigned)batch; ++y)
        for (unsigned x = 0; x < (unsigned)anchors; ++x) {
            blockIdx = {x, y, 0};
            score_float32(outputs, thresholds, keys, classes, invalid, class_count, anchors);
        }
    for (unsigned number = 0; number < (unsigned)batch; ++number) {
        std::barrier<> barrier(BLOCK);
        block_barrier = &barrier;
        std::vector<std::thread> threads;
        for (unsigned thread = 0; thread < BLOCK; ++thread)
            threads.emplace_back([=, &iou_threshold] {
                threadIdx = {thread, 0, 0};
                blockIdx = {number, 0, 0};
                find_float32(outputs, keys, classes, invalid, boxes, labels, results, class_count, anchors, most,
                             &iou_threshold);
            });
        for (auto& thread : threads) thread.join();
    }
}
