// Helper threads where OpenMP is not to be had or not wanted (cpu_parallel.h). They live as long as the process and sleep
// when there is nothing to do.
//
// A caller works on its own tasks too and never waits for a helper that has not started. Callers may be many at once.
// A forked child has no helpers but may go on: it hires its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include <unistd.h>

namespace moegs {

// One call's tasks. A helper may hold on to it longer than the call lasts, but then touches only `next`.
struct Job {
    void (*run)(const void *body, int64_t task);
    const void *body;
    int64_t count;
    int helpers_wanted;  // guarded by the crew's lock
    std::atomic<int64_t> next{0}, finished{0};
    std::atomic<bool> out_of_memory{false};

    Job(void (*run_task)(const void *, int64_t), const void *task_body, int64_t tasks, int helpers)
        : run(run_task), body(task_body), count(tasks), helpers_wanted(helpers) {}

    void work() {
        for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
            try {
                run(body, task);
            } catch (const std::bad_alloc &) {  // thrown again in the caller
                out_of_memory = true;
            }
            finished.fetch_add(1, std::memory_order_release);
        }
    }
};

class Crew {
public:
    static Crew &shared() {
        static std::atomic<Crew *> crew{nullptr};  // never destroyed: helpers outlive static destructors
        Crew *current = crew.load(std::memory_order_acquire);
        while (!current || current->process_ != getpid()) {
            Crew *fresh = new Crew;
            if (crew.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
            delete fresh;
        }
        return *current;
    }

    // Returns when every task has run.
    void run(const std::shared_ptr<Job> &job) {
        const int wanted = job->helpers_wanted;
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            hire(wanted);
            jobs_.push_back(job);
        }
        for (int i = 0; i < wanted; ++i) wake_.notify_one();
        job->work();
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            for (auto it = jobs_.begin(); it != jobs_.end(); ++it)
                if (*it == job) {
                    jobs_.erase(it);
                    break;
                }
        }
        // Helpers are at most within their last task.
        for (int spins = 0; job->finished.load(std::memory_order_acquire) < job->count; ++spins)
            if (spins > 2000) std::this_thread::yield();
        if (job->out_of_memory) throw std::bad_alloc();
    }

private:
    Crew() : process_(getpid()) {}

    void hire(int helpers) {
        for (; hired_ < helpers; ++hired_) {
            try {
                std::thread([this] { serve(); }).detach();
            } catch (const std::system_error &) {
                return;  // no more threads to be had: callers do their share
            }
        }
    }

    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return !jobs_.empty(); });
            const std::shared_ptr<Job> job = jobs_.front();
            if (--job->helpers_wanted <= 0) jobs_.pop_front();
            lock.unlock();
            job->work();
            lock.lock();
        }
    }

    const pid_t process_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;  // those that still want helpers
    int hired_ = 0;
};

}  // namespace moegs
