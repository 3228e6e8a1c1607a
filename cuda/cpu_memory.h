// Uninitialised 64-byte aligned arrays whose memory is kept for the next call: fresh pages from the system would cost
// as much time as a stage of the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include <sys/mman.h>

namespace moegs {

// Free blocks of finished calls, at most kKeptBytes in all. Shared by every thread under a lock.
class BlockPool {
public:
    struct Block {
        void *data = nullptr;
        size_t bytes = 0;
    };

    static BlockPool &shared() {
        static BlockPool *pool = new BlockPool;  // never destroyed: frames may outlive static destructors
        return *pool;
    }

    void lock() { mutex_.lock(); }
    void unlock() { mutex_.unlock(); }

    Block take(size_t bytes) {
#if defined(MOEGS_EXACT_ALLOCATIONS)  // sanitizer builds: every array its own block of its own size
        void *exact = nullptr;
        if (posix_memalign(&exact, 64, bytes) != 0) throw std::bad_alloc();
        return {exact, bytes};
#endif
        const size_t rounded = (bytes + bytes / 8 + 4095) / 4096 * 4096;  // headroom: the next frame may need a bit more
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            // Against the rounded size: what a small request leaves behind must fit its like again.
            size_t best = free_.size();
            for (size_t i = 0; i < free_.size(); ++i)
                if (free_[i].bytes >= bytes && free_[i].bytes / 2 <= rounded &&
                    (best == free_.size() || free_[i].bytes < free_[best].bytes))
                    best = i;
            if (best < free_.size()) {
                const Block block = free_[best];
                free_.erase(free_.begin() + std::ptrdiff_t(best));
                kept_ -= block.bytes;
                return block;
            }
        }
        void *data = nullptr;
        const bool large = rounded >= 2 * kHugePage;
        if (posix_memalign(&data, large ? kHugePage : 64, rounded) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (large) madvise(data, rounded, MADV_HUGEPAGE);  // page by page they take longer to get than to fill
#endif
        return {data, rounded};
    }

    void give(Block block) noexcept {
        if (!block.data) return;
#if defined(MOEGS_EXACT_ALLOCATIONS)
        std::free(block.data);
#else
        const std::lock_guard<std::mutex> guard(mutex_);
        try {
            free_.push_back(block);
        } catch (const std::bad_alloc &) {
            std::free(block.data);
            return;
        }
        kept_ += block.bytes;
        // The longest unused go first: a growing scene outgrows its old blocks.
        while (kept_ > kKeptBytes) {
            kept_ -= free_.front().bytes;
            std::free(free_.front().data);
            free_.erase(free_.begin());
        }
#endif
    }

private:
    static constexpr size_t kKeptBytes = size_t(512) << 20;  // a frame of several experts at full resolution
    static constexpr size_t kHugePage = size_t(2) << 20;
    std::mutex mutex_;
    std::vector<Block> free_;
    size_t kept_ = 0;
};

template <class T>
class Array {
public:
    Array() = default;
    explicit Array(size_t count) : block_(BlockPool::shared().take(count * sizeof(T) + 1)) {}
    Array(const Array &) = delete;
    Array &operator=(const Array &) = delete;
    Array(Array &&other) noexcept : block_(other.block_) { other.block_ = {}; }
    Array &operator=(Array &&other) noexcept {
        const BlockPool::Block mine = block_;
        block_ = other.block_;
        other.block_ = mine;
        return *this;
    }
    ~Array() { BlockPool::shared().give(block_); }

    T *data() const { return static_cast<T *>(block_.data); }
    T &operator[](size_t i) const { return data()[i]; }

private:
    BlockPool::Block block_;
};

}  // namespace moegs
