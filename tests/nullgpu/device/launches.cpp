// Kernels that were compiled into libraries: the runtime's registration and launching of them.
#include "device.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <unordered_map>

namespace {

std::unordered_map<const void *, std::string> &names() {
    static auto &all = *new std::unordered_map<const void *, std::string>;
    return all;
}

std::string demangled(const std::string &symbol) {
    int status = 0;
    char *text = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
    std::string found = status == 0 ? text : symbol;
    free(text);
    return found;
}

std::string name_of(const void *function) {
    Lock lock(state());
    auto found = names().find(function);
    if (found == names().end()) return "unknown";
    if (found->second.rfind("_Z", 0) == 0) found->second = demangled(found->second);
    return found->second;
}

// The one kernel that computes, so that counters start at zero: torch's for filling a tensor that lies in one piece. It
// takes the number of elements, the value, and where to. Returns nothing for other kernels. A large tensor is no
// counter: it is left without memory of its own, unless all kernels are computed.
std::function<void()> filling(const std::string &name, void **arguments) {
    static const std::map<std::string, size_t> sizes = {
        {"bool", 1}, {"unsigned char", 1}, {"signed char", 1}, {"short", 2},         {"int", 4},
        {"long", 8}, {"float", 4},         {"double", 8},      {"c10::BFloat16", 2}, {"c10::Half", 2}};
    const std::string kernel = "vectorized_elementwise_kernel<", functor = "at::native::FillFunctor<";
    size_t start = name.find(functor);
    if (start == std::string::npos || name.find(kernel) == std::string::npos) return {};
    start += functor.size();
    auto size = sizes.find(name.substr(start, name.find('>', start) - start));
    if (size == sizes.end()) return {};
    int count = *(int *)arguments[0];
    std::string value((char *)arguments[1], size->second);
    char *to = *(char **)arguments[2];
    return [=] {
        size_t bytes = count * value.size();
        if (value == std::string(value.size(), 0) || (bytes >= LARGE && !computing())) return fill(to, 0, bytes);
        for (int i = 0; i < count; i++) memcpy(to + i * value.size(), value.data(), value.size());
    };
}

cudaError_t launch(const void *function, dim3 grid, dim3 block, void **arguments, cudaStream_t stream) {
    std::string name = name_of(function);
    return submit(stream_of(stream), Entry("kernel").with("name", name).with("grid", grid).with("block", block),
                  filling(name, arguments));
}

// What <<<...>>> pushes and the stub of a kernel pops.
struct Configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};
thread_local std::vector<Configuration> PUSHED;

}  // namespace

// --- registration, by the constructors of libraries

EXPORTED void **__cudaRegisterFatBinary(void *) {
    static void *handle;
    return &handle;
}
EXPORTED void __cudaRegisterFatBinaryEnd(void **) {}
EXPORTED void __cudaUnregisterFatBinary(void **) {}
EXPORTED char __cudaInitModule(void **) { return 1; }
EXPORTED void __cudaRegisterVar(void **, char *, char *, const char *, int, size_t, int, int) {}
EXPORTED void __cudaRegisterFunction(void **, const char *function, char *, const char *name, int, uint3 *, uint3 *,
                                     dim3 *, dim3 *, int *) {
    Lock lock(state());
    names()[function] = name;
}

// --- launching

EXPORTED unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    PUSHED.push_back({grid, block, shared, stream});
    return 0;
}
EXPORTED cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    Configuration last = PUSHED.back();
    PUSHED.pop_back();
    *grid = last.grid, *block = last.block, *shared = last.shared, *(cudaStream_t *)stream = last.stream;
    return cudaSuccess;
}
EXPORTED cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = cudaKernel_t(function);
    return cudaSuccess;
}
EXPORTED cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t,
                                        cudaStream_t stream) {
    return launch(kernel, grid, block, arguments, stream);
}
EXPORTED cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t,
                                      cudaStream_t stream) {
    return launch(function, grid, block, arguments, stream);
}
EXPORTED cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                                 size_t, cudaStream_t stream) {
    return launch(function, grid, block, arguments, stream);
}
EXPORTED cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function,
                                        void **arguments) {
    return launch(function, config->gridDim, config->blockDim, arguments, config->stream);
}

// --- what is asked of a kernel before it is launched

EXPORTED cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = 90;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) { return cudaSuccess; }
EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int, size_t) {
    *blocks = 2;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *, int, size_t,
                                                                            unsigned) {
    *blocks = 2;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaGetSymbolAddress(void **address, const void *) {
    static char variables[1 << 20];
    *address = variables;
    return cudaSuccess;
}
