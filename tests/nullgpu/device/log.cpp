// The log, and the functions by which Python reads it and computes in place of kernels.
#include "device.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

// Never destroyed: threads of torch outlive static objects.
std::vector<std::string> &lines() {
    static auto &kept = *new std::vector<std::string>;
    return kept;
}

std::string joined(const std::vector<std::string> &parts) {
    std::string all;
    for (const auto &part : parts) all += part + "\n";
    return all;
}

using Compute = void (*)(long long);
Compute COMPUTE = nullptr;

// At the end of a process: writes its log to a file of its own in the folder NULLGPU_LOG.
struct AtExit {
    ~AtExit() {
        const char *folder = getenv("NULLGPU_LOG");
        if (!folder) return;
        std::string path = std::string(folder) + "/" + std::to_string(getpid()) + ".jsonl";
        if (FILE *file = fopen(path.c_str(), "w")) {
            fputs(joined(lines()).c_str(), file);
            fclose(file);
        }
    }
} AT_EXIT;

}  // namespace

std::recursive_mutex &state() {
    static auto &mutex = *new std::recursive_mutex;
    return mutex;
}

Entry &Entry::raw(const char *key, const std::string &json) {
    text_ += ", \"" + std::string(key) + "\": " + json;
    return *this;
}

Entry &Entry::with(const char *key, const std::string &text) {
    std::string escaped;
    for (char c : text) escaped += (c == '"' || c == '\\') ? std::string("\\") + c : std::string(1, c);
    return raw(key, "\"" + escaped + "\"");
}

Entry &Entry::with(const char *key, const std::vector<int64_t> &values) {
    std::string list;
    for (int64_t value : values) list += (list.empty() ? "" : ", ") + std::to_string(value);
    return raw(key, "[" + list + "]");
}

void note(const Entry &entry) {
    Lock lock(state());
    lines().push_back(entry.line());
}

bool computing() { return COMPUTE != nullptr; }

// Forgets the log.
EXPORTED void nullgpu_reset() {
    Lock lock(state());
    lines().clear();
}

// The log since the last reset, a JSON object a line; valid until this is called again.
EXPORTED const char *nullgpu_log() {
    static auto &text = *new std::string;
    Lock lock(state());
    text = joined(lines());
    return text.c_str();
}

// A line of the caller's own.
EXPORTED void nullgpu_note(const char *text) { note(Entry("note").with("name", text)); }

// What computes: called with the number that nullgpu_compute was given.
EXPORTED void nullgpu_computed_by(Compute compute) { COMPUTE = compute; }

// Computes number `job` on a stream: now, or in a capture at each launch of the graph.
EXPORTED int nullgpu_compute(void *stream, long long job) {
    return submit(stream_of(stream), Entry("computed").with("job", job), [job] { COMPUTE(job); });
}

// A call of the CUDA libraries that the null GPU has no answer to but success.
EXPORTED int nullgpu_unanswered(const char *name) {
    note(Entry("unanswered").with("name", name));
    return 0;
}
