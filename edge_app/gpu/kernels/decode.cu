// From the output [batch, 4 + classes, anchors] of a YOLOv8-style model to its boxes, on the device.
//
// Two kernels: every anchor gets its class and whether it is a candidate, then one block an image gathers the
// candidates in anchor order, keeps the best if there are too many, and suppresses what overlaps. The result is
// that of YoloV8Head and non_max_suppression in Python to the last bit, so there is no fused multiply-add here.
//
// The file is also compiled for the CPU, where tests compare it with them.

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

#ifndef BLOCK
#define BLOCK 512
#endif
#define MOST 4096  // candidates of an image; what is sorted lies in shared memory

typedef unsigned int u32;
typedef unsigned long long u64;

struct Box { float x1, y1, x2, y2; };

__device__ static inline float as_float(float value) { return value; }
#ifdef __CUDACC__
__device__ static inline float as_float(__half value) { return __half2float(value); }
__device__ static inline u32 bits_of(float value) { return __float_as_uint(value); }
__device__ static inline float float_of(u32 bits) { return __uint_as_float(bits); }
#endif

template <typename T>
__device__ static inline Box box_of(const T* image, int anchors, int anchor) {
    const float x = as_float(image[anchor]), y = as_float(image[anchors + anchor]);
    const float half_width = as_float(image[2 * anchors + anchor]) * 0.5f;
    const float half_height = as_float(image[3 * anchors + anchor]) * 0.5f;
    Box box = {x - half_width, y - half_height, x + half_width, y + half_height};
    return box;
}

__device__ static inline float area_of(Box box) { return (box.x2 - box.x1) * (box.y2 - box.y1); }

__device__ static inline bool has_area(Box box) {
    const float area = area_of(box);
    return box.x2 - box.x1 > 0.0f && area > 0.0f && area < INFINITY;
}

// keys: the bits of a candidate's confidence, which are ordered as it is; 0 where there is no candidate.
template <typename T>
__device__ static void score(const T* outputs, const float* thresholds, u32* keys, int* classes, int* invalid,
                             int class_count, int anchors) {
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x, number = blockIdx.y;
    if (anchor >= anchors) return;
    const T* image = outputs + (size_t)number * (4 + class_count) * anchors;
    const T* scores = image + (size_t)4 * anchors + anchor;
    float confidence = as_float(scores[0]);
    int class_id = 0;
    for (int other = 1; other < class_count && confidence == confidence; ++other) {
        const float value = as_float(scores[(size_t)other * anchors]);
        // The first of equals, and the first that is not a number.
        if (!(value <= confidence)) { confidence = value; class_id = other; }
    }
    u32 key = 0;
    if (!(confidence <= thresholds[class_id])) {
        if (confidence < INFINITY && has_area(box_of(image, anchors, anchor))) key = bits_of(confidence);
        else atomicAdd(invalid + number, 1);
    }
    keys[(size_t)number * anchors + anchor] = key;
    classes[(size_t)number * anchors + anchor] = class_id;
}

// Add up `value` over the threads before this one, and over all of them.
__device__ static int scan(int value, int* sums, int* total) {
    const int thread = threadIdx.x;
    sums[thread] = value;
    __syncthreads();
    for (int step = 1; step < BLOCK; step *= 2) {
        const int before = thread >= step ? sums[thread - step] : 0;
        __syncthreads();
        sums[thread] += before;
        __syncthreads();
    }
    *total = sums[BLOCK - 1];
    const int sum = sums[thread] - value;
    __syncthreads();
    return sum;
}

// The `wanted`-th greatest key, and how many candidates of just that key belong to the `wanted` best.
__device__ static u32 select_key(const u32* keys, int anchors, int wanted, u32* counts, u32* shared, int* equal) {
    u32 prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int digit = threadIdx.x; digit < 256; digit += BLOCK) counts[digit] = 0;
        __syncthreads();
        for (int anchor = threadIdx.x; anchor < anchors; anchor += BLOCK) {
            const u32 key = keys[anchor];
            if (key != 0 && (key & mask) == prefix) atomicAdd(counts + ((key >> shift) & 255), 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int left = wanted, digit = 255;
            while (digit > 0 && (int)counts[digit] < left) left -= (int)counts[digit--];
            shared[0] = (u32)digit;
            shared[1] = (u32)left;
        }
        __syncthreads();
        prefix |= shared[0] << shift;
        mask |= 255u << shift;
        wanted = (int)shared[1];
        __syncthreads();
    }
    *equal = wanted;
    return prefix;
}

// Put `count` keys, filled up to a power of two, into ascending order.
__device__ static void sort_keys(u64* keys, int count) {
    int length = 1;
    while (length < count) length *= 2;
    for (int place = count + threadIdx.x; place < length; place += BLOCK) keys[place] = ~0ull;
    __syncthreads();
    for (int size = 2; size <= length; size *= 2) {
        for (int stride = size / 2; stride > 0; stride /= 2) {
            for (int pair = threadIdx.x; pair < length / 2; pair += BLOCK) {
                const int low = 2 * stride * (pair / stride) + pair % stride, high = low + stride;
                const u64 first = keys[low], second = keys[high];
                if ((first > second) == ((low & size) == 0)) { keys[low] = second; keys[high] = first; }
            }
            __syncthreads();
        }
    }
}

__device__ static inline bool overlaps(Box a, float area_a, Box b, float threshold) {
    const float width = fmaxf(fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1), 0.0f);
    const float height = fmaxf(fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1), 0.0f);
    const float intersection = width * height;
    return intersection / (area_a + area_of(b) - intersection) > threshold;
}

// What comes back of one image lies in page-locked memory: four integers, then `most` boxes, confidences and
// classes, of which the first `header[0]` count. Mirrored by result_dtype in decode.py.
template <typename T>
__device__ static void find(const T* outputs, const u32* all_keys, const int* all_classes, int* invalid,
                            Box* all_boxes, int* all_labels, char* results, int class_count, int anchors, int most,
                            const float* iou) {
    const float iou_threshold = *iou;
    __shared__ u64 order[MOST];
    __shared__ unsigned short kept[MOST];
    __shared__ char alive[MOST];
    __shared__ int sums[BLOCK];
    __shared__ u32 shared[2];
    const int number = blockIdx.x, thread = threadIdx.x;
    const T* image = outputs + (size_t)number * (4 + class_count) * anchors;
    const u32* keys = all_keys + (size_t)number * anchors;
    const int* classes = all_classes + (size_t)number * anchors;
    Box* boxes = all_boxes + (size_t)number * most;
    int* labels = all_labels + (size_t)number * most;
    const size_t bytes = 16 + (size_t)most * 24;
    int* header = (int*)(results + number * bytes);
    Box* out_boxes = (Box*)(header + 4);
    float* out_confidences = (float*)(out_boxes + most);
    int* out_classes = (int*)(out_confidences + most);

    int mine = 0, found = 0;
    for (int anchor = thread; anchor < anchors; anchor += BLOCK) mine += keys[anchor] != 0;
    scan(mine, sums, &found);
    u32 least = 1;
    int equal = 0;
    if (found > most) least = select_key(keys, anchors, most, (u32*)order, shared, &equal);
    const int count = found > most ? most : found;

    // Candidates in anchor order: `order` keeps where they are, with their confidence in front, inverted, so
    // that ascending is best first and equals stay in anchor order.
    int before = 0, equals_before = 0;
    for (int start = 0; start < anchors; start += BLOCK) {
        const int anchor = start + thread;
        const u32 key = anchor < anchors ? keys[anchor] : 0;
        int total = 0;
        bool wanted = key >= least;
        if (found > most) {
            const int rank = equals_before + scan(key == least, sums, &total);
            wanted = key > least || (key == least && rank < equal);
            equals_before += total;
        }
        const int place = before + scan(wanted, sums, &total);
        if (wanted) order[place] = ((u64)(~key) << 32) | (u32)anchor;
        before += total;
    }
    __syncthreads();

    const bool suppress = iou_threshold >= 0.0f;
    if (suppress && count > 1) sort_keys(order, count);
    for (int place = thread; place < count; place += BLOCK) {
        const int anchor = (int)(u32)order[place];
        boxes[place] = box_of(image, anchors, anchor);
        labels[place] = classes[anchor];
        alive[place] = 1;
    }
    __syncthreads();

    int kept_count = 0;
    for (int best = 0; best < count; ++best) {
        if (!alive[best]) continue;
        if (thread == 0) kept[kept_count] = (unsigned short)best;
        ++kept_count;
        if (!suppress || iou_threshold >= 1.0f) continue;
        const Box box = boxes[best];
        const float area = area_of(box);
        const int label = labels[best];
        for (int other = best + 1 + thread; other < count; other += BLOCK) {
            if (alive[other] && labels[other] == label && overlaps(box, area, boxes[other], iou_threshold)) {
                alive[other] = 0;
            }
        }
        __syncthreads();
    }
    __syncthreads();

    for (int place = thread; place < kept_count; place += BLOCK) {
        const int from = kept[place];
        out_boxes[place] = boxes[from];
        out_confidences[place] = float_of(~(u32)(order[from] >> 32));
        out_classes[place] = labels[from];
    }
    if (thread == 0) {
        header[0] = kept_count;
        header[1] = found - count;
        header[2] = invalid[number];
        header[3] = count;
        invalid[number] = 0;
    }
}

#define KERNELS(NAME, T)                                                                                       \
    extern "C" __global__ void score_##NAME(const T* outputs, const float* thresholds, u32* keys, int* classes, \
                                            int* invalid, int class_count, int anchors) {                      \
        score(outputs, thresholds, keys, classes, invalid, class_count, anchors);                              \
    }                                                                                                          \
    extern "C" __global__ void find_##NAME(const T* outputs, const u32* keys, const int* classes, int* invalid, \
                                           Box* boxes, int* labels, char* results, int class_count,            \
                                           int anchors, int most, const float* iou) {                          \
        find(outputs, keys, classes, invalid, boxes, labels, results, class_count, anchors, most, iou);        \
    }

KERNELS(float32, float)
#ifdef __CUDACC__
KERNELS(float16, __half)
#endif
