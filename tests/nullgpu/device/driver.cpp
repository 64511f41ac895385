// The driver's interface: what triton and inductor's launcher load and launch through.
#include "device.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace {

using Module = std::map<std::string, Resources>;
struct Function {
    std::string name;
    Resources resources;
};

CUcontext CONTEXT = CUcontext(1);

CUresult launch(CUfunction handle, dim3 grid, dim3 block, CUstream stream) {
    auto function = (Function *)handle;
    auto entry = Entry("triton").with("name", function->name).with("grid", grid).with("block", block);
    entry.with("registers", function->resources.registers).with("spilled_bytes", function->resources.spilled_bytes);
    double milliseconds = 1 + function->resources.spilled_bytes;  // of two configurations the other one is faster
    return submit(stream_of(stream), entry, {}, milliseconds) ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

}  // namespace

// --- the device

EXPORTED CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
EXPORTED CUresult cuDriverGetVersion(int *version) {
    *version = CUDA_VERSION_TOLD;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuDeviceGet(CUdevice *device, int) {
    *device = 0;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuDeviceGetCount(int *count) {
    *count = 1;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuDeviceGetName(char *name, int size, CUdevice) {
    snprintf(name, size, "%s", DEVICE_NAME);
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuDeviceTotalMem(size_t *bytes, CUdevice) {
    *bytes = DEVICE_BYTES;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute number, CUdevice) {
    *value = attribute(number);
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuGetErrorString(CUresult, const char **text) {
    *text = "error of the null GPU";
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuGetErrorName(CUresult, const char **text) {
    *text = "CUDA_ERROR_UNKNOWN";
    return CUDA_SUCCESS;
}

// --- its one context

EXPORTED CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = CONTEXT;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
EXPORTED CUresult cuCtxPushCurrent(CUcontext) { return CUDA_SUCCESS; }
EXPORTED CUresult cuCtxPopCurrent(CUcontext *context) { return cuCtxGetCurrent(context); }
EXPORTED CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) { return cuCtxGetCurrent(context); }
EXPORTED CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuPointerGetAttribute(void *value, CUpointer_attribute, CUdeviceptr pointer) {
    *(CUdeviceptr *)value = pointer;
    return CUDA_SUCCESS;
}

// --- modules: compiled kernels

EXPORTED CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    *module = CUmodule(new Module(resources(image)));
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *, void **) {
    return cuModuleLoadData(module, image);
}
EXPORTED CUresult cuModuleLoad(CUmodule *module, const char *path) {
    std::ostringstream content;
    std::ifstream file(path, std::ios::binary);
    if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
    content << file.rdbuf();
    return cuModuleLoadData(module, content.str().c_str());
}
EXPORTED CUresult cuModuleUnload(CUmodule module) {
    delete (Module *)module;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuModuleGetFunction(CUfunction *handle, CUmodule module, const char *name) {
    auto found = ((Module *)module)->find(name);
    if (found == ((Module *)module)->end()) return CUDA_ERROR_NOT_FOUND;
    *handle = CUfunction(new Function{name, found->second});
    note(Entry("load").with("name", name));
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuFuncGetAttribute(int *value, CUfunction_attribute number, CUfunction handle) {
    const Resources &kernel = ((Function *)handle)->resources;
    switch (number) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = kernel.registers; break;
        case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = kernel.spilled_bytes; break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = kernel.shared_bytes; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
EXPORTED CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
EXPORTED CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction, const CUlaunchConfig *) {
    *clusters = 1;
    return CUDA_SUCCESS;
}
EXPORTED CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction, int, size_t) {
    *blocks = 2;
    return CUDA_SUCCESS;
}

// --- launching

EXPORTED CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                 unsigned bz, unsigned, CUstream stream, void **, void **) {
    return launch(function, {gx, gy, gz}, {bx, by, bz}, stream);
}
EXPORTED CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **, void **) {
    return launch(function, {config->gridDimX, config->gridDimY, config->gridDimZ},
                  {config->blockDimX, config->blockDimY, config->blockDimZ}, config->hStream);
}

// --- how the runtime's users find the driver's functions

EXPORTED cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned, unsigned long long,
                                                      cudaDriverEntryPointQueryResult *result) {
    *function = dlsym(RTLD_DEFAULT, name);
    if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
