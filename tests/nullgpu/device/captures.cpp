// Captures, what they forbid, and the graphs that come of them.
#include "device.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <set>

namespace {

thread_local cudaStreamCaptureMode THREAD_MODE = cudaStreamCaptureModeGlobal;

std::set<Graph *> &running_captures() {
    static auto &captures = *new std::set<Graph *>;
    return captures;
}

// Graphs stay for nullgpu_graph, which may ask for one after it was destroyed.
std::map<int, Graph *> &graphs() {
    static auto &all = *new std::map<int, Graph *>;
    return all;
}

long this_thread() { return syscall(SYS_gettid); }

// Whether everything captured on other streams was waited for by the one where the capture began.
bool joined(const Graph *graph) {
    for (Stream *member : graph->members) {
        auto done = member->seen.find(member->id), known = graph->origin->seen.find(member->id);
        if (done != member->seen.end() && (known == graph->origin->seen.end() || known->second < done->second))
            return false;
    }
    return true;
}

void leave(Graph *graph) {
    graph->ended = true;
    running_captures().erase(graph);
    for (Stream *member : graph->members) member->capture = nullptr, member->seen.clear();
}

}  // namespace

cudaError_t break_capture(Graph *graph, cudaError_t error, const std::string &reason) {
    graph->broken = true;
    return fail(error, reason);
}

cudaError_t forbidden_in_capture(Entry entry) {
    Lock lock(state());
    note(entry);
    if (THREAD_MODE == cudaStreamCaptureModeRelaxed) return cudaSuccess;
    for (Graph *graph : running_captures()) {
        bool own = graph->thread == this_thread() && graph->mode != cudaStreamCaptureModeRelaxed;
        bool all = THREAD_MODE == cudaStreamCaptureModeGlobal && graph->mode == cudaStreamCaptureModeGlobal;
        if (own || all)
            return break_capture(graph, cudaErrorStreamCaptureUnsupported, "forbidden in a capture: " + entry.line());
    }
    return cudaSuccess;
}

// --- captures

EXPORTED cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
    std::swap(*mode, THREAD_MODE);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    Lock lock(state());
    Stream *stream = stream_of(handle);
    if (stream == stream_of(nullptr) || stream->capture)
        return fail(cudaErrorStreamCaptureUnsupported, "this stream cannot begin a capture");
    auto graph = new Graph;
    graph->id = next_id(), graph->mode = mode, graph->thread = this_thread();
    graph->origin = stream, graph->members = {stream};
    stream->capture = graph;
    running_captures().insert(graph);
    graphs()[graph->id] = graph;
    note(Entry("begin capture").with("stream", stream->id).with("graph", graph->id));
    return cudaSuccess;
}
EXPORTED cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *result) {
    Lock lock(state());
    Graph *graph = stream_of(handle)->capture;
    *result = nullptr;
    if (!graph || graph->origin != stream_of(handle))
        return fail(cudaErrorStreamCaptureUnmatched, "no capture began on this stream");
    bool stranger = graph->mode != cudaStreamCaptureModeRelaxed && graph->thread != this_thread();
    bool unjoined = !joined(graph);
    leave(graph);
    if (graph->broken) return fail(cudaErrorStreamCaptureInvalidated, "end of a capture that has failed");
    if (stranger) return fail(cudaErrorStreamCaptureWrongThread, "a capture was ended by another thread");
    if (unjoined) return fail(cudaErrorStreamCaptureUnjoined, "a capture ended with unjoined streams");
    note(Entry("end capture").with("graph", graph->id).with("nodes", graph->nodes.size()));
    *result = cudaGraph_t(graph);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status) {
    return cudaStreamGetCaptureInfo(handle, status, nullptr, nullptr, nullptr, nullptr, nullptr);
}
EXPORTED cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus *status,
                                              unsigned long long *id, cudaGraph_t *graph,
                                              const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges,
                                              size_t *count) {
    Lock lock(state());
    Graph *capture = stream_of(handle)->capture;
    *status = !capture          ? cudaStreamCaptureStatusNone
              : capture->broken ? cudaStreamCaptureStatusInvalidated
                                : cudaStreamCaptureStatusActive;
    if (id) *id = capture ? capture->id : 0;
    if (graph) *graph = cudaGraph_t(capture);
    if (nodes) *nodes = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cudaSuccess;
}

// --- graphs

EXPORTED cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    *executable = cudaGraphExec_t(graph);
    return cudaSuccess;
}
EXPORTED cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    auto graph = (Graph *)executable;
    auto entry = Entry("graph").with("launched", graph->id).with("nodes", graph->nodes.size());
    return submit(stream_of(stream), entry, [graph] {
        for (const auto &node : graph->nodes)
            if (node.work) node.work();
    });
}
EXPORTED cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *, size_t *count) {
    *count = ((Graph *)graph)->nodes.size();
    return cudaSuccess;
}
EXPORTED cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
EXPORTED cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }

// The nodes of a graph, a JSON object a line; valid until this is called again.
EXPORTED const char *nullgpu_graph(int id) {
    static auto &text = *new std::string;
    Lock lock(state());
    text.clear();
    auto found = graphs().find(id);
    if (found != graphs().end())
        for (const auto &node : found->second->nodes) text += node.line + "\n";
    return text.c_str();
}
