// Work in pieces on several threads: all of it is done once, whoever else asks at the same time.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "SmallInverses.h"
#include "Threads.h"
#include "checks.h"

using namespace openmm_reparam;

namespace {

constexpr size_t MANY = 10 * FEWEST_IN_PARALLEL + 7;

void requireOnceEach(size_t count) {
    std::vector<int> visits(count, 0);
    inParallel(count, [&](size_t begin, size_t end) {
        for (size_t k = begin; k < end; k++)
            visits[k]++;
    });
    for (const int number : visits)
        REQUIRE(number == 1);
}

void testAllIsDoneOnce() {
    for (const size_t count : {size_t(0), size_t(1), FEWEST_IN_PARALLEL, MANY})
        for (int n = 0; n < 50; n++)
            requireOnceEach(count);
}

void testManyTakeSeveralThreadsAndFewTakeOne() {
    for (const size_t count : {FEWEST_IN_PARALLEL - 1, MANY}) {
        std::set<std::thread::id> threads;
        std::mutex lock;
        inParallel(count, [&](size_t, size_t) {
            const std::lock_guard<std::mutex> hold(lock);
            threads.insert(std::this_thread::get_id());
        });
        REQUIRE(threads.size() == (count < FEWEST_IN_PARALLEL ? 1 : 3));
    }
}

void testCallersAtOnce() {
    std::vector<std::thread> callers;
    for (int n = 0; n < 4; n++)
        callers.emplace_back([] {
            for (int k = 0; k < 200; k++)
                requireOnceEach(MANY);
        });
    for (std::thread& caller : callers)
        caller.join();
}

void testForkedOff() {
    const pid_t child = fork();
    if (child == 0) {
        requireOnceEach(MANY);
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/// An indefinite matrix is found in whatever piece it is.
void testOneIndefiniteMatrixAmongMany() {
    std::vector<double> matrices(MANY, 2.0);
    REQUIRE(SmallInverses::invert(matrices.data(), MANY, 1, 0.0));
    for (const size_t place : {size_t(0), MANY / 2, MANY - 1}) {
        matrices[place] = -1;
        REQUIRE(!SmallInverses::invert(matrices.data(), MANY, 1, 0.0));
        matrices[place] = 2;
    }
}

} // namespace

int main() {
    setenv("OPENMM_CPU_THREADS", "3", 1);
    testAllIsDoneOnce();
    testManyTakeSeveralThreadsAndFewTakeOne();
    testCallersAtOnce();
    testForkedOff();
    testOneIndefiniteMatrixAmongMany();
    std::cout << "Threads: all tests passed" << std::endl;
}
