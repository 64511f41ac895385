// The null GPU: a CUDA device that computes nothing, for tests of code that runs on one.
//
// Preloaded into a process, it stands for libcuda, libcudart, cuBLAS and cuDNN. Its memory is host memory; copies and
// fills are done at once; kernels and library calls are only logged. Streams, events and captures follow CUDA's rules,
// so that torch, inductor, triton and ptxas run unmodified. What it logs is read from Python by nullgpu.py.
#pragma once
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What torch and triton see: an H100 SXM.
constexpr char DEVICE_NAME[] = "NVIDIA H100 80GB HBM3 (null)";
constexpr size_t DEVICE_BYTES = 80ull << 30;
constexpr int CUDA_VERSION_TOLD = CUDA_VERSION;

// --- the log (log.cpp)

// One line of the log: a JSON object, begun here and closed when it is logged.
class Entry {
public:
    explicit Entry(const char *kind) : text_("{\"kind\": \"" + std::string(kind) + "\"") {}
    Entry &with(const char *key, const std::string &text);
    Entry &with(const char *key, long long value) { return raw(key, std::to_string(value)); }
    Entry &with(const char *key, const std::vector<int64_t> &values);
    Entry &with(const char *key, dim3 size) { return with(key, std::vector<int64_t>{size.x, size.y, size.z}); }
    Entry &raw(const char *key, const std::string &json);
    std::string line() const { return text_ + "}"; }

private:
    std::string text_;
};

// Logs what the host asked for beside any stream.
void note(const Entry &entry);

// Whether kernels are computed, by whatever nullgpu_computed_by named.
bool computing();

// Held by everything that reads or changes the state of the device; never while foreign code runs.
std::recursive_mutex &state();
using Lock = std::lock_guard<std::recursive_mutex>;

// --- streams and captures (streams.cpp, captures.cpp, errors.cpp)

// How many nodes of each stream, by its id, come before some point.
using Clock = std::map<int, size_t>;

struct Stream;

struct Graph {
    struct Node {
        std::string line;
        std::function<void()> work;
    };
    int id = 0;
    std::vector<Node> nodes;
    // while it is captured:
    Stream *origin = nullptr;
    std::vector<Stream *> members;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    long thread = 0;
    bool broken = false, ended = false;
};

struct Stream {
    int id = 0;
    Graph *capture = nullptr;
    Clock seen;
};

// The stream behind a handle; 0, 1 and 2 are the names of default streams.
Stream *stream_of(const void *handle);

// Hands work to a stream: it is logged and done now, or becomes a node of the graph that captures the stream. On the
// device's clock it takes so many milliseconds.
cudaError_t submit(Stream *stream, Entry entry, std::function<void()> work = {}, double milliseconds = 1);

// Logs a call that no capture of this thread allows (a wait, an allocation); returns the error to hand on.
cudaError_t forbidden_in_capture(Entry entry);

// Logs an error and keeps it for cudaGetLastError.
cudaError_t fail(cudaError_t error, const std::string &reason);

// The same, and the capture will end in an error too.
cudaError_t break_capture(Graph *graph, cudaError_t error, const std::string &reason);

int next_id();  // for streams and graphs

// --- memory.cpp, properties.cpp, cubin.cpp

constexpr size_t LARGE = 1 << 20;              // bytes
void fill(void *to, int value, size_t bytes);  // memset that spares the pages of device memory, of LARGE blocks

int attribute(int number);  // a cudaDeviceAttr, or the CUdevice_attribute of the same number

struct Resources {
    int registers = 0, spilled_bytes = 0, shared_bytes = 0;
};

// What each kernel of a compiled module takes, read from the ELF file that ptxas wrote.
std::map<std::string, Resources> resources(const void *image);
