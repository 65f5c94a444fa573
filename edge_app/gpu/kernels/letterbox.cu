// From frames as they were captured to a model's input: scaled, padded, normalised, in one pass.
//
// The arithmetic is OpenCV's: half-pixel centres, two taps for each axis, clamped at the borders, the result
// rounded to a byte before it is normalised, as the networks were trained. Only the taps' weights are floats
// here, and 11-bit integers there.
//
// The file is also compiled for the CPU, where tests compare it with OpenCV.

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

typedef unsigned char u8;
typedef unsigned long long u64;

enum Format { BGR = 0, NV12 = 1, P016 = 2 };  // P016: as NV12, with samples of two bytes
enum OutputType { FLOAT32 = 0, FLOAT16 = 1, UINT8 = 2 };

// One image of a batch; mirrored by IMAGE_DTYPE in letterbox.py.
struct LetterboxImage {
    u64 source;        // address of the pixels, or of the luma plane; 0: there is no image, only padding
    u64 chroma;        // address of the interleaved chroma plane
    int width, height; // pixels
    int pitch, chroma_pitch;  // bytes from row to row
    int format;
    int left, top, resized_width, resized_height;  // where the image lies in the input, in pixels
    int y_offset, y_gain, u_to_blue, u_to_green, v_to_green, v_to_red;  // 20-bit fixed point
};

// What the input wants; mirrored by TARGET_DTYPE in letterbox.py.
struct LetterboxTarget {
    int width, height;
    int interleaved;  // 0: planes, 1: the channels of a pixel lie together
    int rgb;          // 1: red first
    int type;
    float gain[3], offset[3];  // value = byte * gain + offset, in the order of the input's channels
    float padding[3];
};

struct Bgr { float b, g, r; };

__device__ static inline int clamp_byte(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// A sample of a plane as a byte: of two bytes, little-endian, the upper one.
__device__ static inline int read_sample(u64 row, int column, int format) {
    return format == P016 ? ((const u8*)row)[2 * column + 1] : ((const u8*)row)[column];
}

__device__ static inline Bgr read_yuv(const LetterboxImage& image, int x, int y) {
    const int shift = 20, half = 1 << 19;
    const u64 chroma = image.chroma + (size_t)(y >> 1) * image.chroma_pitch;
    const int u = read_sample(chroma, x & ~1, image.format) - 128;
    const int v = read_sample(chroma, x | 1, image.format) - 128;
    int level = read_sample(image.source + (size_t)y * image.pitch, x, image.format) - image.y_offset;
    level = (level < 0 ? 0 : level) * image.y_gain;
    Bgr pixel;
    pixel.b = (float)clamp_byte((level + image.u_to_blue * u + half) >> shift);
    pixel.g = (float)clamp_byte((level + image.u_to_green * u + image.v_to_green * v + half) >> shift);
    pixel.r = (float)clamp_byte((level + image.v_to_red * v + half) >> shift);
    return pixel;
}

__device__ static inline Bgr read_pixel(const LetterboxImage& image, int x, int y) {
    if (image.format != BGR) return read_yuv(image, x, y);
    const u8* pixel = (const u8*)image.source + (size_t)y * image.pitch + 3 * x;
    Bgr read = {(float)pixel[0], (float)pixel[1], (float)pixel[2]};
    return read;
}

struct Taps { int first, second; float weight; };

// The two source positions of one output position along one axis, and the weight of the second one.
__device__ static inline Taps find_taps(int position, int length, int resized) {
    Taps taps = {position, position, 0.0f};
    if (length == resized) return taps;
    // (position + 0.5) * length / resized - 0.5 in whole numbers, so that nothing is rounded but the weight.
    const int numerator = (2 * position + 1) * length - resized, denominator = 2 * resized;
    if (numerator < 0) { taps.first = taps.second = 0; return taps; }
    taps.first = numerator / denominator;
    taps.weight = (float)(numerator - taps.first * denominator) / (float)denominator;
    if (taps.first >= length - 1) { taps.first = length - 1; taps.weight = 0.0f; }
    taps.second = taps.weight == 0.0f ? taps.first : taps.first + 1;
    return taps;
}

__device__ static inline float mix(float a, float b, float weight) { return a + (b - a) * weight; }

__device__ static inline Bgr sample(const LetterboxImage& image, int x, int y) {
    const Taps across = find_taps(x, image.width, image.resized_width);
    const Taps down = find_taps(y, image.height, image.resized_height);
    Bgr top = read_pixel(image, across.first, down.first);
    if (across.weight != 0.0f) {
        const Bgr next = read_pixel(image, across.second, down.first);
        top.b = mix(top.b, next.b, across.weight);
        top.g = mix(top.g, next.g, across.weight);
        top.r = mix(top.r, next.r, across.weight);
    }
    if (down.weight == 0.0f) return top;
    Bgr bottom = read_pixel(image, across.first, down.second);
    if (across.weight != 0.0f) {
        const Bgr next = read_pixel(image, across.second, down.second);
        bottom.b = mix(bottom.b, next.b, across.weight);
        bottom.g = mix(bottom.g, next.g, across.weight);
        bottom.r = mix(bottom.r, next.r, across.weight);
    }
    top.b = mix(top.b, bottom.b, down.weight);
    top.g = mix(top.g, bottom.g, down.weight);
    top.r = mix(top.r, bottom.r, down.weight);
    return top;
}

__device__ static inline void store(void* out, size_t index, float value, int type) {
    if (type == FLOAT32) ((float*)out)[index] = value;
#if defined(__CUDACC__) || defined(HOST_HALF)  // the host compiler may know no half: tests bring one
    else if (type == FLOAT16) ((__half*)out)[index] = __float2half_rn(value);
#endif
    else if (type == UINT8) ((u8*)out)[index] = (u8)clamp_byte((int)rintf(value));
}

// Grid: (columns / 32, rows / 8, images), rounded up; block: (32, 8).
extern "C" __global__ void letterbox(const LetterboxImage* images, void* out, LetterboxTarget target) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= target.width || y >= target.height) return;
    const LetterboxImage image = images[blockIdx.z];
    const int inside_x = x - image.left, inside_y = y - image.top;
    float values[3] = {target.padding[0], target.padding[1], target.padding[2]};
    if (image.source != 0 && inside_x >= 0 && inside_y >= 0 && inside_x < image.resized_width &&
        inside_y < image.resized_height) {
        const Bgr pixel = sample(image, inside_x, inside_y);
        const float first = target.rgb ? pixel.r : pixel.b, last = target.rgb ? pixel.b : pixel.r;
        values[0] = rintf(first) * target.gain[0] + target.offset[0];
        values[1] = rintf(pixel.g) * target.gain[1] + target.offset[1];
        values[2] = rintf(last) * target.gain[2] + target.offset[2];
    }
    const size_t plane = (size_t)target.width * target.height;
    const size_t base = blockIdx.z * 3 * plane, pixel = (size_t)y * target.width + x;
    for (int channel = 0; channel < 3; ++channel) {
        const size_t index = target.interleaved ? base + 3 * pixel + channel : base + channel * plane + pixel;
        store(out, index, values[channel], target.type);
    }
}
