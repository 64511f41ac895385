// CUDA's errors: each is logged when it is made, and kept for cudaGetLastError.
#include "device.h"

static thread_local cudaError_t LAST_ERROR = cudaSuccess;

cudaError_t fail(cudaError_t error, const std::string &reason) {
    note(Entry("error").with("name", reason));
    return LAST_ERROR = error;
}

EXPORTED cudaError_t cudaGetLastError() {
    cudaError_t error = LAST_ERROR;
    LAST_ERROR = cudaSuccess;
    return error;
}
EXPORTED cudaError_t cudaPeekAtLastError() { return LAST_ERROR; }
EXPORTED const char *cudaGetErrorName(cudaError_t error) { return error ? "cudaError" : "cudaSuccess"; }
EXPORTED const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        case cudaErrorStreamCaptureUnjoined: return "capturing stream has unjoined work";
        case cudaErrorStreamCaptureIsolation: return "dependency created on uncaptured work in another stream";
        case cudaErrorStreamCaptureWrongThread: return "capture was ended by another thread";
        case cudaErrorCapturedEvent: return "operation not permitted on an event last recorded in a capturing stream";
        default: return "error of the null GPU";
    }
}
