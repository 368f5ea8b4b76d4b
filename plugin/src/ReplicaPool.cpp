#include "openmm_reparam/ReplicaPool.h"

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

/// One Context, and the thread that evaluates it once it has been given work.
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

    ~Replica() {
        if (thread.joinable()) {
            {
                std::lock_guard<std::mutex> lock(mutex);
                stopping = true;
            }
            changed.notify_all();
            thread.join();
        }
    }

    /// Evaluate on the caller's thread.
    void evaluate(const double* from, double* energy, double* forces) {
        const size_t size = positions.size();
        for (size_t i = 0; i < 3 * size; i++)
            if (!std::isfinite(from[i]))
                throw std::invalid_argument(
                    "position of particle " + std::to_string(i / 3) + " is NaN or infinite");
        std::memcpy(positions.data(), from, size * sizeof(Vec3));
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

    /// Evaluate on the replica's own thread; `wait` for it before starting anything else.
    void start(const double* from, double* energy, double* forces) {
        if (!thread.joinable())
            thread = std::thread([this] { work(); });
        {
            std::lock_guard<std::mutex> lock(mutex);
            task = [this, from, energy, forces] { evaluate(from, energy, forces); };
            busy = true;
        }
        changed.notify_all();
    }

    void wait() {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [this] { return !busy; });
        if (failure)
            std::rethrow_exception(std::exchange(failure, nullptr));
    }

    Context& getContext() { return *context; }

  private:
    void setBox(const std::vector<double>& box) {
        if (box.size() != 9)
            throw std::invalid_argument("the box has " + std::to_string(box.size()) + " numbers; it needs 9");
        context->setPeriodicBoxVectors(
            Vec3(box[0], box[1], box[2]), Vec3(box[3], box[4], box[5]), Vec3(box[6], box[7], box[8]));
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex);
        while (true) {
            changed.wait(lock, [this] { return busy || stopping; });
            if (stopping)
                return;
            lock.unlock();
            std::exception_ptr caught;
            try {
                task();
            }
            catch (...) {
                caught = std::current_exception();
            }
            lock.lock();
            failure = caught;
            busy = false;
            changed.notify_all();
        }
    }

    const std::vector<bool>& moves;
    bool hasVirtualSites;
    int groups;
    std::vector<Vec3> positions;
    VerletIntegrator integrator;
    std::unique_ptr<Context> context;
    std::thread thread;
    std::mutex mutex;
    std::condition_variable changed;
    std::function<void()> task;
    std::exception_ptr failure;
    bool busy = false, stopping = false;
};

struct ReplicaPool::Shared {
    std::unique_ptr<System> system;
    std::vector<bool> moves;
    std::vector<std::unique_ptr<Replica>> replicas;
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
    for (int r = 0; r < options.replicas; r++)
        shared->replicas.push_back(std::make_unique<Replica>(system, options, shared->moves));
}

ReplicaPool::~ReplicaPool() = default;

void ReplicaPool::evaluate(const double* positions, int batch, double* energies, double* forces) {
    if (batch < 1 || batch > replicas())
        throw std::invalid_argument(
            "a batch of " + std::to_string(batch) + " configurations was given; this Potential has " +
            std::to_string(replicas()) + " replicas");
    std::lock_guard<std::mutex> lock(shared->mutex);
    const size_t stride = 3 * static_cast<size_t>(particles());
    auto& pool = shared->replicas;
    shared->evaluations += batch;
    for (int b = 1; b < batch; b++)
        pool[b]->start(positions + b * stride, energies + b, forces + b * stride);
    // The first one on this thread, so that a single configuration costs no handing over.
    std::exception_ptr failure;
    try {
        pool[0]->evaluate(positions, energies, forces);
    }
    catch (...) {
        failure = std::current_exception();
    }
    // All have to be waited for, whatever fails: they write to the caller's memory.
    for (int b = 1; b < batch; b++) {
        try {
            pool[b]->wait();
        }
        catch (...) {
            if (!failure)
                failure = std::current_exception();
        }
    }
    if (failure)
        std::rethrow_exception(failure);
}

int ReplicaPool::particles() const { return shared->system->getNumParticles(); }

int ReplicaPool::replicas() const { return static_cast<int>(shared->replicas.size()); }

long long ReplicaPool::evaluations() const { return shared->evaluations; }

std::string ReplicaPool::platform() const { return shared->replicas[0]->getContext().getPlatform().getName(); }

} // namespace openmm_reparam
