#include "openmm_reparam/ReplicaPool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "OpenMM.h"
#include "openmm/serialization/XmlSerializer.h"

using namespace OpenMM;

namespace openmm_reparam {

static_assert(sizeof(Vec3) == 3 * sizeof(double), "Vec3 is copied as three doubles");

namespace {

std::unique_ptr<System> parse(const std::string& xml) {
    if (xml.empty())
        throw std::invalid_argument("the System's XML is empty; give what XmlSerializer.serialize(system) returns");
    try {
        std::istringstream stream(xml);
        return std::unique_ptr<System>(XmlSerializer::deserialize<System>(stream));
    }
    catch (const std::exception& error) {
        throw std::invalid_argument(std::string("the System's XML cannot be read: ") + error.what());
    }
}

} // namespace

/// One Context.
class ReplicaPool::Replica {
  public:
    Replica(const System& system, const PotentialOptions& options, const std::vector<bool>& moves)
        : moves(moves), hasVirtualSites(false), positions(system.getNumParticles()), integrator(0.001) {
        for (int i = 0; i < system.getNumParticles(); i++)
            hasVirtualSites = hasVirtualSites || system.isVirtualSite(i);
        groups = options.forceGroups;
        if (options.platform.empty())
            context = std::make_unique<Context>(system, integrator);
        else
            context = std::make_unique<Context>(
                system, integrator, Platform::getPlatformByName(options.platform), options.properties);
        // After the Context was made: the grids of PME stay those of the System's own box.
        if (!options.box.empty())
            setBox(options.box);
        for (const auto& [name, value] : options.parameters)
            context->setParameter(name, value);
    }

    void evaluate(const double* from, double* energy, double* forces) {
        const size_t size = positions.size();
        for (size_t i = 0; i < 3 * size; i++)
            if (!std::isfinite(from[i]))
                throw std::invalid_argument(
                    "position of particle " + std::to_string(i / 3) + " is NaN or infinite");
        for (size_t i = 0; i < size; i++)
            positions[i] = Vec3(from[3 * i], from[3 * i + 1], from[3 * i + 2]);
        context->setPositions(positions);
        if (hasVirtualSites)
            context->computeVirtualSites();
        const State state = context->getState(State::Energy | State::Forces, false, groups);
        *energy = state.getPotentialEnergy();
        std::memcpy(forces, state.getForces().data(), size * sizeof(Vec3));
        for (size_t i = 0; i < size; i++)
            if (!moves[i])
                forces[3 * i] = forces[3 * i + 1] = forces[3 * i + 2] = 0.0;
    }

    Context& getContext() { return *context; }

  private:
    void setBox(const std::vector<double>& box) {
        if (box.size() != 9)
            throw std::invalid_argument("the box has " + std::to_string(box.size()) + " numbers; it needs 9");
        context->setPeriodicBoxVectors(
            Vec3(box[0], box[1], box[2]), Vec3(box[3], box[4], box[5]), Vec3(box[6], box[7], box[8]));
    }

    const std::vector<bool>& moves;
    bool hasVirtualSites;
    int groups;
    std::vector<Vec3> positions;
    VerletIntegrator integrator;
    std::unique_ptr<Context> context;
};

/// Threads that do the same work on different indices: thread k on k, k + count, k + 2 count, ...
class ReplicaPool::Workers {
  public:
    /// One for each core at most. Where they take all cores, each stays on its own: threads that it
    /// starts (those of its Contexts) stay there too, and handing over to them is cheap.
    explicit Workers(int wanted) {
        const std::vector<int> cores = allowedCores();
        const int count = std::min<int>(wanted, cores.size());
        const bool pinned = count == static_cast<int>(cores.size()) && count > 1;
        for (int k = 0; k < count; k++)
            threads.emplace_back([this, k, core = pinned ? cores[k] : -1] { work(k, core); });
    }

    ~Workers() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            stopping = true;
        }
        changed.notify_all();
        for (auto& thread : threads)
            thread.join();
    }

    /// Call `task` with 0, 1, ... count - 1; throws what it threw first, once all are done.
    void run(int count, const std::function<void(int)>& task) {
        std::unique_lock<std::mutex> lock(mutex);
        current = &task;
        last = count;
        failure = nullptr;
        busy = static_cast<int>(threads.size());
        round++;
        changed.notify_all();
        finished.wait(lock, [this] { return busy == 0; });
        if (failure)
            std::rethrow_exception(std::exchange(failure, nullptr));
    }

  private:
    static std::vector<int> allowedCores() {
        std::vector<int> cores;
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof(set), &set) == 0)
            for (int core = 0; core < CPU_SETSIZE; core++)
                if (CPU_ISSET(core, &set))
                    cores.push_back(core);
        if (cores.empty())
            cores.push_back(0);
        return cores;
    }

    void work(int first, int core) {
        if (core >= 0) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(core, &set);
            // Only for speed: where it is not allowed, the thread goes where it likes.
            pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
        }
        int done = 0;
        std::unique_lock<std::mutex> lock(mutex);
        while (true) {
            changed.wait(lock, [&] { return stopping || round != done; });
            if (stopping)
                return;
            done = round;
            lock.unlock();
            std::exception_ptr caught;
            for (int index = first; index < last; index += static_cast<int>(threads.size())) {
                try {
                    (*current)(index);
                }
                catch (...) {
                    if (!caught)
                        caught = std::current_exception();
                }
            }
            lock.lock();
            if (caught && !failure)
                failure = caught;
            if (--busy == 0)
                finished.notify_all();
        }
    }

    std::vector<std::thread> threads;
    std::mutex mutex;
    std::condition_variable changed, finished;
    const std::function<void(int)>* current = nullptr;
    std::exception_ptr failure;
    int last = 0, busy = 0, round = 0;
    bool stopping = false;
};

struct ReplicaPool::Shared {
    std::unique_ptr<System> system;
    std::vector<bool> moves;
    std::vector<std::unique_ptr<Replica>> replicas;
    // After the replicas: its threads end before they do.
    std::unique_ptr<Workers> workers;
    std::mutex mutex;
    std::atomic<long long> evaluations{0};
};

ReplicaPool::ReplicaPool(const PotentialOptions& options) : shared(std::make_unique<Shared>()) {
    if (options.replicas < 1)
        throw std::invalid_argument(
            "replicas is " + std::to_string(options.replicas) + "; at least 1 is needed");
    shared->system = parse(options.systemXml);
    const System& system = *shared->system;
    for (int i = 0; i < system.getNumParticles(); i++)
        shared->moves.push_back(system.getParticleMass(i) > 0 && !system.isVirtualSite(i));
    shared->replicas.resize(options.replicas);
    const auto make = [&](int r) {
        shared->replicas[r] = std::make_unique<Replica>(system, options, shared->moves);
    };
    if (options.replicas == 1) {
        make(0);
        return;
    }
    // Each Context is made by the thread that will evaluate it.
    shared->workers = std::make_unique<Workers>(options.replicas);
    shared->workers->run(options.replicas, make);
}

ReplicaPool::~ReplicaPool() = default;

void ReplicaPool::evaluate(const double* positions, int batch, double* energies, double* forces) {
    if (batch < 1 || batch > replicas())
        throw std::invalid_argument(
            "a batch of " + std::to_string(batch) + " configurations was given; this Potential has " +
            std::to_string(replicas()) + " replicas");
    std::lock_guard<std::mutex> lock(shared->mutex);
    const size_t stride = 3 * static_cast<size_t>(particles());
    shared->evaluations += batch;
    const auto evaluateOne = [&](int b) {
        shared->replicas[b]->evaluate(positions + b * stride, energies + b, forces + b * stride);
    };
    // A single configuration is not worth handing over.
    if (batch == 1)
        evaluateOne(0);
    else
        shared->workers->run(batch, evaluateOne);
}

int ReplicaPool::particles() const { return shared->system->getNumParticles(); }

int ReplicaPool::replicas() const { return static_cast<int>(shared->replicas.size()); }

long long ReplicaPool::evaluations() const { return shared->evaluations; }

std::string ReplicaPool::platform() const { return shared->replicas[0]->getContext().getPlatform().getName(); }

} // namespace openmm_reparam
