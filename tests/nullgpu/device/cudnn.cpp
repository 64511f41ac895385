// cuDNN's graph interface. A descriptor says of itself what was set; whatever plan is asked for exists. Executing a
// convolution logs the shapes, strides and types of its tensors.
#include <cudnn.h>

#include <algorithm>
#include <cstring>

#include "device.h"

namespace {

struct Handle {
    cudaStream_t stream = nullptr;
};

struct Descriptor {
    cudnnBackendDescriptorType_t type;
    std::map<cudnnBackendAttributeName_t, std::vector<char>> attributes;
    Descriptor *source = nullptr;  // the search, or the configuration, that it came out of
};

size_t width(cudnnBackendAttributeType_t type) {
    switch (type) {
        case CUDNN_TYPE_HANDLE:
        case CUDNN_TYPE_VOID_PTR:
        case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        case CUDNN_TYPE_INT64:
        case CUDNN_TYPE_DOUBLE: return 8;
        case CUDNN_TYPE_BOOLEAN:
        case CUDNN_TYPE_CHAR: return 1;
        default: return 4;
    }
}

template <class T>
std::vector<T> values(Descriptor *descriptor, cudnnBackendAttributeName_t name) {
    auto found = descriptor->attributes.find(name);
    if (found == descriptor->attributes.end()) return {};
    std::vector<T> all(found->second.size() / sizeof(T));
    memcpy(all.data(), found->second.data(), all.size() * sizeof(T));
    return all;
}

// The descriptor that an attribute names; null where there is none.
Descriptor *part(Descriptor *descriptor, cudnnBackendAttributeName_t name) {
    auto found = descriptor ? values<Descriptor *>(descriptor, name) : std::vector<Descriptor *>{};
    return found.empty() ? nullptr : found.front();
}

std::string tensor(Descriptor *descriptor) {
    Entry text("tensor");
    text.with("shape", values<int64_t>(descriptor, CUDNN_ATTR_TENSOR_DIMENSIONS))
        .with("strides", values<int64_t>(descriptor, CUDNN_ATTR_TENSOR_STRIDES))
        .with("type", values<int>(descriptor, CUDNN_ATTR_TENSOR_DATA_TYPE).at(0));
    return text.line();
}

// The operation of a plan: plan -> engine configuration -> (search | engine) -> operation graph -> its first operation.
Descriptor *operation(Descriptor *plan) {
    Descriptor *configuration = part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (!configuration) return nullptr;
    Descriptor *graph = configuration->source ? part(configuration->source, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)
                                              : part(part(configuration, CUDNN_ATTR_ENGINECFG_ENGINE),
                                                     CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
    return part(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
}

Entry executed(Descriptor *plan) {
    Descriptor *found = operation(plan);
    Entry entry("convolution");
    auto tensors = [&](const char *name, cudnnBackendAttributeName_t x, cudnnBackendAttributeName_t w,
                       cudnnBackendAttributeName_t y) {
        entry.with("name", name).raw("x", tensor(part(found, x))).raw("w", tensor(part(found, w)));
        return entry.raw("y", tensor(part(found, y)));
    };
    switch (found ? int(found->type) : 0) {
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
            return tensors("forward", CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
            return tensors("input gradient", CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY);
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
            return tensors("weight gradient", CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY);
        default: return Entry("unanswered").with("name", "cudnnBackendExecute of no convolution");
    }
}

}  // namespace

// --- the handle

EXPORTED cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = cudnnHandle_t(new Handle);
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    delete (Handle *)handle;
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    ((Handle *)handle)->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    *stream = ((Handle *)handle)->stream;
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED size_t cudnnGetVersion() { return CUDNN_VERSION; }
EXPORTED size_t cudnnGetCudartVersion() { return CUDA_VERSION_TOLD; }
EXPORTED cudnnStatus_t cudnnGetProperty(libraryPropertyType type, int *value) {
    int version[] = {CUDNN_MAJOR, CUDNN_MINOR, CUDNN_PATCHLEVEL};
    *value = version[type];
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED const char *cudnnGetErrorString(cudnnStatus_t) { return "status of the null GPU"; }
EXPORTED void cudnnGetLastErrorString(char *message, size_t size) {
    if (size) *message = 0;
}

// --- descriptors: kept after they are destroyed, since plans go on naming them

EXPORTED cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *made) {
    *made = cudnnBackendDescriptor_t(new Descriptor{type, {}, nullptr});
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }
EXPORTED cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }
EXPORTED cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                                cudnnBackendAttributeType_t type, int64_t count, const void *elements) {
    auto bytes = (const char *)elements;
    ((Descriptor *)handle)->attributes[name].assign(bytes, bytes + count * width(type));
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const handle, cudnnBackendAttributeName_t name,
                                                cudnnBackendAttributeType_t type, int64_t room, int64_t *count,
                                                void *elements) {
    auto descriptor = (Descriptor *)handle;
    int64_t there = 0;
    auto set = descriptor->attributes.find(name);
    bool found = set != descriptor->attributes.end();
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS || (name == CUDNN_ATTR_ENGINECFG_ENGINE && !found)) {
        there = 1;  // a search finds one configuration; a configuration that was found has an engine
        if (elements && room && *(Descriptor **)elements) (*(Descriptor **)elements)->source = descriptor;
    } else if (found) {
        there = set->second.size() / width(type);
        if (elements) memcpy(elements, set->second.data(), std::min<size_t>(set->second.size(), room * width(type)));
    } else if (type == CUDNN_TYPE_INT64 && elements && room) {  // such as a plan's workspace
        *(int64_t *)elements = 0;
        there = 1;
    }
    if (count) *count = there;
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                           cudnnBackendDescriptor_t) {
    return submit(stream_of(((Handle *)handle)->stream), executed((Descriptor *)plan)) ? CUDNN_STATUS_EXECUTION_FAILED
                                                                                      : CUDNN_STATUS_SUCCESS;
}
