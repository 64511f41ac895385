// Streams and events. Work is done at once, in the order in which the host hands it over.
#include "device.h"

#include <algorithm>

namespace {

struct Event {
    Graph *capture = nullptr;  // the capture it was recorded in
    Clock seen;
    bool recorded = false;
    double milliseconds = 0;
    int stream = 0;
};

// The device's clock: a piece of work takes a millisecond, so that benchmarks end soon and choose the same each time.
double CLOCK = 0;

void merge(Clock &into, const Clock &from) {
    for (auto [id, count] : from) into[id] = std::max(into[id], count);
}

cudaError_t make_stream(cudaStream_t *stream) {
    auto made = new Stream;
    made->id = next_id();
    *stream = cudaStream_t(made);
    return cudaSuccess;
}

}  // namespace

int next_id() {
    static int id = 0;
    Lock lock(state());
    return ++id;
}

Stream *stream_of(const void *handle) {
    static auto &default_stream = *new Stream;
    return uintptr_t(handle) <= 2 ? &default_stream : (Stream *)handle;
}

cudaError_t submit(Stream *stream, Entry entry, std::function<void()> work, double milliseconds) {
    {
        Lock lock(state());
        entry.with("stream", stream->id);
        if (Graph *graph = stream->capture) {
            if (graph->broken) return fail(cudaErrorStreamCaptureInvalidated, "work for a capture that has failed");
            entry.with("graph", graph->id);
            graph->nodes.push_back({entry.line(), work});
            ++stream->seen[stream->id];
            return cudaSuccess;
        }
        note(entry);
        CLOCK += milliseconds;
    }
    if (work) work();
    return cudaSuccess;
}

// --- streams

EXPORTED cudaError_t cudaStreamCreate(cudaStream_t *stream) { return make_stream(stream); }
EXPORTED cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return make_stream(stream); }
EXPORTED cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int) { return make_stream(stream); }
EXPORTED cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
EXPORTED cudaError_t cudaStreamGetPriority(cudaStream_t, int *priority) {
    *priority = 0;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaStreamQuery(cudaStream_t handle) {
    Graph *graph = stream_of(handle)->capture;
    return graph ? break_capture(graph, cudaErrorStreamCaptureUnsupported, "query of a capturing stream") : cudaSuccess;
}
EXPORTED cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    if (Graph *graph = stream_of(handle)->capture)
        return break_capture(graph, cudaErrorStreamCaptureUnsupported, "wait for a capturing stream");
    return forbidden_in_capture(Entry("sync").with("name", "cudaStreamSynchronize"));
}
EXPORTED cudaError_t cudaDeviceSynchronize() {
    return forbidden_in_capture(Entry("sync").with("name", "cudaDeviceSynchronize"));
}
EXPORTED cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *argument) {
    return submit(stream_of(handle), Entry("host function"), [=] { function(argument); });
}
EXPORTED cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t function, void *data, unsigned) {
    return submit(stream_of(handle), Entry("host function"), [=] { function(handle, cudaSuccess, data); });
}

// --- events

EXPORTED cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = cudaEvent_t(new Event);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
EXPORTED cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete (Event *)event;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream_handle, unsigned) {
    Lock lock(state());
    Stream *stream = stream_of(stream_handle);
    *(Event *)handle = {stream->capture, stream->seen, true, CLOCK, stream->id};
    if (!stream->capture) note(Entry("record").with("stream", stream->id));
    return cudaSuccess;
}
EXPORTED cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}
EXPORTED cudaError_t cudaEventQuery(cudaEvent_t handle) {
    Lock lock(state());
    Graph *graph = ((Event *)handle)->capture;
    return graph && !graph->ended ? break_capture(graph, cudaErrorCapturedEvent, "query of a captured event")
                                  : cudaSuccess;
}
EXPORTED cudaError_t cudaEventSynchronize(cudaEvent_t) {
    return forbidden_in_capture(Entry("sync").with("name", "cudaEventSynchronize"));
}
EXPORTED cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    *milliseconds = ((Event *)to)->milliseconds - ((Event *)from)->milliseconds;
    return cudaSuccess;
}
EXPORTED cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned) {
    Lock lock(state());
    Stream *stream = stream_of(stream_handle);
    auto event = (Event *)handle;
    if (!event->recorded) return cudaSuccess;
    bool captured = event->capture && !event->capture->ended;
    if (captured && !stream->capture) {  // the stream joins the capture
        stream->capture = event->capture;
        event->capture->members.push_back(stream);
    }
    if (stream->capture && stream->capture != event->capture)
        return break_capture(stream->capture, cudaErrorStreamCaptureIsolation,
                             "a capturing stream waits for an event from outside");
    if (captured) merge(stream->seen, event->seen);
    else note(Entry("wait").with("stream", stream->id).with("for", event->stream));
    return cudaSuccess;
}
