#include "Threads.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif
#include <unistd.h>

using namespace std;

namespace openmm_reparam {

namespace {

constexpr int MOST_THREADS = 8;

int coresOfThisProcess() {
#ifdef __linux__
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
        return CPU_COUNT(&cores);
#endif
    return int(thread::hardware_concurrency());
}

int wantedThreads() {
    for (const char* name : {"OPENMM_CPU_THREADS", "OMP_NUM_THREADS"})
        if (const char* value = getenv(name))
            if (const int number = atoi(value); number > 0)
                return min(number, MOST_THREADS);
    return clamp(coresOfThisProcess(), 1, MOST_THREADS);
}

/// Threads that wait for work; never ended, since a process may end while they wait.
class Workers {
  public:
    Workers() : process(getpid()), helpers(size_t(wantedThreads() - 1)) {
        for (size_t k = 0; k < helpers; k++)
            thread([this, k] { serve(k); }).detach();
    }

    /// Whether the work was done: not where others use the threads, or this process has none.
    bool run(size_t count, const function<void(size_t, size_t)>& given) {
        unique_lock<mutex> only(callers, try_to_lock);
        if (!only || helpers == 0 || getpid() != process)
            return false;
        {
            lock_guard<mutex> hold(lock);
            work = &given;
            size = count;
            left = helpers;
            round++;
        }
        begins.notify_all();
        piece(helpers);
        unique_lock<mutex> hold(lock);
        ends.wait(hold, [this] { return left == 0; });
        return true;
    }

  private:
    void piece(size_t k) const {
        const size_t parts = helpers + 1;
        (*work)(size * k / parts, size * (k + 1) / parts);
    }

    void serve(size_t k) {
        size_t done = 0;
        while (true) {
            {
                unique_lock<mutex> hold(lock);
                begins.wait(hold, [&] { return round != done; });
                done = round;
            }
            piece(k);
            lock_guard<mutex> hold(lock);
            if (--left == 0)
                ends.notify_one();
        }
    }

    const pid_t process;
    const size_t helpers;
    mutex callers, lock;
    condition_variable begins, ends;
    const function<void(size_t, size_t)>* work = nullptr;
    size_t size = 0, left = 0, round = 0;
};

} // namespace

void inParallel(size_t count, const function<void(size_t, size_t)>& work) {
    if (count >= FEWEST_IN_PARALLEL) {
        static Workers& workers = *new Workers();
        if (workers.run(count, work))
            return;
    }
    work(0, count);
}

} // namespace openmm_reparam
