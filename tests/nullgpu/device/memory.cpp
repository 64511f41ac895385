// Device memory is host memory: copies and fills are done. The log says where both ends of a copy lie.
#include "device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace {

using Blocks = std::map<char *, size_t>;  // by address: bytes

Blocks &device_blocks() {
    static auto &blocks = *new Blocks;
    return blocks;
}

Blocks &pinned_blocks() {
    static auto &blocks = *new Blocks;
    return blocks;
}

size_t USED = 0;

bool within(const Blocks &blocks, const void *pointer) {
    auto block = blocks.upper_bound((char *)pointer);
    if (block == blocks.begin()) return false;
    --block;
    return (char *)pointer < block->first + block->second;
}

std::string place(const void *pointer) {
    Lock lock(state());
    return within(device_blocks(), pointer) ? "device" : within(pinned_blocks(), pointer) ? "pinned" : "pageable";
}

// Pages of device memory that nobody wrote to are zeros and take no memory. Most are such, since kernels write nothing:
// large fills and copies leave them so.
constexpr size_t PAGE = 4096;

bool on_device(const void *pointer) {
    Lock lock(state());
    return within(device_blocks(), pointer);
}

bool never_written(const void *pointer, size_t bytes) {
    auto first = uintptr_t(pointer) / PAGE * PAGE;
    std::vector<unsigned char> present((uintptr_t(pointer) + bytes - first + PAGE - 1) / PAGE);
    if (mincore((void *)first, bytes + uintptr_t(pointer) - first, present.data())) return false;
    for (unsigned char page : present)
        if (page & 1) return false;
    return true;
}

// A truth value reads as false where nothing is computed, so that a run takes the same course each time.
void move(void *to, const void *from, size_t bytes) {
    if (bytes == 1 && on_device(from) && !on_device(to) && !computing()) *(char *)to = 0;
    else if (bytes >= LARGE && on_device(to) && on_device(from) && never_written(from, bytes)) fill(to, 0, bytes);
    else memmove(to, from, bytes);
}

Entry copied(const void *to, const void *from, size_t bytes) {
    return Entry("copy").with("from", place(from)).with("to", place(to)).with("bytes", bytes);
}

void pin(void *pointer, size_t bytes) {
    Lock lock(state());
    pinned_blocks()[(char *)pointer] = bytes;
}

void unpin(void *pointer) {
    Lock lock(state());
    pinned_blocks().erase((char *)pointer);
}

}  // namespace

void fill(void *to, int value, size_t bytes) {
    if (value != 0 || bytes < LARGE || !on_device(to)) {
        memset(to, value, bytes);
        return;
    }
    auto start = (char *)to, end = start + bytes;
    auto first = (char *)((uintptr_t(start) + PAGE - 1) / PAGE * PAGE), last = (char *)(uintptr_t(end) / PAGE * PAGE);
    memset(start, 0, first - start);
    madvise(first, last - first, MADV_DONTNEED);
    memset(last, 0, end - last);
}

// --- allocating

EXPORTED cudaError_t cudaMalloc(void **pointer, size_t bytes) {
    if (cudaError_t error = forbidden_in_capture(Entry("allocate").with("name", "cudaMalloc").with("bytes", bytes)))
        return error;
    Lock lock(state());
    *pointer = nullptr;
    if (USED + bytes > DEVICE_BYTES) return fail(cudaErrorMemoryAllocation, "out of memory");
    // the system gives a page when it is first written to: what no copy touches costs nothing
    void *block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return fail(cudaErrorMemoryAllocation, "the host is out of addresses");
    USED += bytes;
    device_blocks()[(char *)block] = bytes;
    *pointer = block;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaFree(void *pointer) {
    if (!pointer) return cudaSuccess;
    if (cudaError_t error = forbidden_in_capture(Entry("free").with("name", "cudaFree"))) return error;
    Lock lock(state());
    auto block = device_blocks().find((char *)pointer);
    if (block == device_blocks().end()) return fail(cudaErrorInvalidValue, "cudaFree of what was not allocated");
    munmap(pointer, block->second);
    USED -= block->second;
    device_blocks().erase(block);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned) {
    note(Entry("allocate").with("name", "cudaHostAlloc").with("bytes", bytes));
    *pointer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*pointer) return fail(cudaErrorMemoryAllocation, "the host is out of memory");
    pin(*pointer, bytes);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaFreeHost(void *pointer) {
    unpin(pointer);
    free(pointer);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaHostRegister(void *pointer, size_t bytes, unsigned) {
    pin(pointer, bytes);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaHostUnregister(void *pointer) {
    unpin(pointer);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    Lock lock(state());
    *free = DEVICE_BYTES - USED;
    *total = DEVICE_BYTES;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer) {
    memset(attributes, 0, sizeof *attributes);
    std::string where = place(pointer);
    attributes->type = where == "device"   ? cudaMemoryTypeDevice
                       : where == "pinned" ? cudaMemoryTypeHost
                                           : cudaMemoryTypeUnregistered;
    attributes->devicePointer = attributes->hostPointer = (void *)pointer;
    return cudaSuccess;
}

// --- copying and filling

EXPORTED cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind) {
    if (cudaError_t error = forbidden_in_capture(Entry("sync").with("name", "cudaMemcpy"))) return error;
    return submit(stream_of(nullptr), copied(to, from, bytes), [=] { move(to, from, bytes); });
}
EXPORTED cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    return submit(stream_of(stream), copied(to, from, bytes), [=] { move(to, from, bytes); });
}
EXPORTED cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                                       size_t height, cudaMemcpyKind, cudaStream_t stream) {
    return submit(stream_of(stream), copied(to, from, width * height), [=] {
        for (size_t row = 0; row < height; row++)
            memmove((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width);
    });
}
EXPORTED cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    return submit(stream_of(stream), Entry("fill").with("bytes", bytes), [=] { fill(to, value, bytes); });
}
EXPORTED cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}
