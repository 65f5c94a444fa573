// CUDA's half for host compilers that have none; given to g++ with -include, before host_kernels.cpp.
#pragma once
#include <cmath>

#define HOST_HALF

struct __half { unsigned short bits; };

// Rounds to nearest, ties to even, as the GPU does: subnormals and overflow to infinity included.
static inline __half __float2half_rn(float value) {
    const unsigned short sign = std::signbit(value) ? 0x8000 : 0;
    const float size = std::fabs(value);
    if (std::isnan(value)) return {0x7fff};
    if (size >= 65520.0f) return {(unsigned short)(sign | 0x7c00)};
    if (size < 0x1p-14f) return {(unsigned short)(sign | (unsigned short)std::rint(size * 0x1p24f))};
    const int exponent = std::ilogb(size);
    // A mantissa that rounds up to 2048 carries into the exponent by itself.
    const int mantissa = (int)std::rint(std::ldexp(size, 10 - exponent));
    return {(unsigned short)(sign | (((exponent + 15) << 10) + mantissa - 1024))};
}
