// cuDNN's BatchNorm, which torch uses where it is not compiled. A launch is logged; nothing is needed beside it.
// These functions have up to 30 parameters: those that follow the last one looked at are left out.
#include "device.h"

EXPORTED int cudnnGetStream(void *handle, cudaStream_t *stream);

namespace {

int launch(void *handle, const char *name) {
    cudaStream_t stream;
    cudnnGetStream(handle, &stream);
    return submit(stream_of(stream), Entry("kernel").with("name", name)) ? 8 : 0;  // CUDNN_STATUS_EXECUTION_FAILED
}

int none(size_t *bytes) {
    *bytes = 0;
    return 0;
}

}  // namespace

EXPORTED int cudnnCreateTensorDescriptor(void **made) {
    *made = new int;
    return 0;
}
EXPORTED int cudnnDestroyTensorDescriptor(void *descriptor) {
    delete (int *)descriptor;
    return 0;
}
EXPORTED int cudnnSetTensorNdDescriptor(void *) { return 0; }
EXPORTED int cudnnSetTensor4dDescriptor(void *) { return 0; }
EXPORTED int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *, int, int, void *, void *, void *, void *,
                                                                      void *, size_t *bytes) {
    return none(bytes);
}
EXPORTED int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *, int, int, void *, void *, void *, void *, void *,
                                                               void *, void *, size_t *bytes) {
    return none(bytes);
}
EXPORTED int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *, int, int, void *, void *, size_t *bytes) {
    return none(bytes);
}
EXPORTED int cudnnBatchNormalizationForwardTrainingEx(void *handle) { return launch(handle, "cudnn batch norm"); }
EXPORTED int cudnnBatchNormalizationBackwardEx(void *handle) { return launch(handle, "cudnn batch norm backward"); }
EXPORTED int cudnnBatchNormalizationForwardInference(void *handle) { return launch(handle, "cudnn batch norm"); }
