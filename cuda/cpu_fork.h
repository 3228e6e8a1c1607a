// What survives a fork(), and what does not.
//
// A child has only the thread that forked. Of an OpenMP team of the parent the runtime still believes in, and waits for
// it for ever; so forked children work with a crew of their own (cpu_crew.h). And a lock that another thread held at
// that moment would stay locked; so the one lock of the library is taken for the moment of forking.
#pragma once

#include <atomic>

#include <pthread.h>

#include "cpu_memory.h"

namespace moegs {

// Whether this process was forked from one that had, or may have had, an OpenMP team.
inline std::atomic<bool> &in_forked_child() {
    static std::atomic<bool> forked{false};
    return forked;
}

namespace fork_handlers {
inline void before() { BlockPool::shared().lock(); }
inline void in_parent() { BlockPool::shared().unlock(); }
inline void in_child() {
    BlockPool::shared().unlock();
    in_forked_child() = true;
}
static const int registered = pthread_atfork(before, in_parent, in_child);
}  // namespace fork_handlers

}  // namespace moegs
