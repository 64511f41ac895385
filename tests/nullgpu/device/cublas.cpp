// cuBLAS and cuBLASLt: products are logged by their shapes and types.
#include "device.h"

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstring>

namespace {

struct Handle {
    cudaStream_t stream = nullptr;
};

struct Layout {
    cudaDataType type;
    int64_t rows, columns;
};

cublasStatus_t product(cudaStream_t stream, Entry entry) {
    return submit(stream_of(stream), entry) ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

Entry shapes(int m, int n, int k, cudaDataType type) {
    return Entry("product").with("name", "gemm").with("shape", std::vector<int64_t>{m, n, k}).with("type", type);
}

cudaStream_t stream_of_handle(cublasHandle_t handle) { return ((Handle *)handle)->stream; }

}  // namespace

// --- the handle

EXPORTED cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    *handle = cublasHandle_t(new Handle);
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    delete (Handle *)handle;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    ((Handle *)handle)->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *, size_t) { return CUBLAS_STATUS_SUCCESS; }
EXPORTED cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
EXPORTED cublasStatus_t cublasGetMathMode(cublasHandle_t, cublasMath_t *mode) {
    *mode = CUBLAS_DEFAULT_MATH;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t, cublasPointerMode_t) { return CUBLAS_STATUS_SUCCESS; }
EXPORTED cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t, cublasPointerMode_t *mode) {
    *mode = CUBLAS_POINTER_MODE_HOST;
    return CUBLAS_STATUS_SUCCESS;
}

// --- cuBLAS

EXPORTED cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                                       const float *, const float *, int, const float *, int, const float *, float *,
                                       int) {
    return product(stream_of_handle(handle), shapes(m, n, k, CUDA_R_32F));
}
EXPORTED cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                                     const void *, const void *, cudaDataType type, int, const void *, cudaDataType,
                                     int, const void *, void *, cudaDataType, int, cublasComputeType_t,
                                     cublasGemmAlgo_t) {
    return product(stream_of_handle(handle), shapes(m, n, k, type));
}

// --- cuBLASLt

EXPORTED size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
EXPORTED cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *made, cublasComputeType_t, cudaDataType_t) {
    *made = new cublasLtMatmulDescOpaque_t{};
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                                       const void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made) {
    *made = new cublasLtMatmulPreferenceOpaque_t{};
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                             cublasLtMatmulPreferenceAttributes_t, const void *,
                                                             size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *made, cudaDataType type, uint64_t rows,
                                                   uint64_t columns, int64_t) {
    *made = cublasLtMatrixLayout_t(new Layout{type, int64_t(rows), int64_t(columns)});
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete (Layout *)layout;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t,
                                                         const void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                       cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                                       cublasLtMatmulHeuristicResult_t *results, int *count) {
    memset(results, 0, sizeof *results);
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORTED cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *, const void *,
                                       cublasLtMatrixLayout_t a, const void *, cublasLtMatrixLayout_t b, const void *,
                                       const void *, cublasLtMatrixLayout_t, void *, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t stream) {
    auto left = (const Layout *)a, right = (const Layout *)b, out = (const Layout *)d;
    return product(stream, Entry("product")
                               .with("name", "matmul")
                               .with("left", std::vector<int64_t>{left->rows, left->columns})
                               .with("right", std::vector<int64_t>{right->rows, right->columns})
                               .with("out", std::vector<int64_t>{out->rows, out->columns})
                               .with("type", left->type));
}
