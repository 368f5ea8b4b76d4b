// The TorchScript class openmm_reparam.Potential: OpenMM energies inside TorchScript models.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <torch/custom_class.h>
#include <torch/torch.h>

#include "openmm_reparam/ReplicaPool.h"

namespace openmm_reparam {

using Properties = c10::Dict<std::string, std::string>;
using Parameters = c10::Dict<std::string, double>;
// What a Potential is made of, and what is pickled; the name says whose copies share Contexts.
using State =
    std::tuple<std::string, std::string, Properties, int64_t, Parameters, std::vector<double>, int64_t, std::string>;
using Evaluation = std::tuple<torch::Tensor, torch::Tensor, torch::Tensor>;

namespace {

PotentialOptions options(const State& state) {
    PotentialOptions options;
    options.systemXml = std::get<0>(state);
    options.platform = std::get<1>(state);
    for (const auto& entry : std::get<2>(state))
        options.properties[entry.key()] = entry.value();
    options.replicas = static_cast<int>(std::get<3>(state));
    for (const auto& entry : std::get<4>(state))
        options.parameters[entry.key()] = entry.value();
    options.box = std::get<5>(state);
    options.forceGroups = static_cast<int>(std::get<6>(state));
    return options;
}

/// The Contexts, and what they evaluated last: one for a Potential and all its copies in this process.
struct Evaluator {
    explicit Evaluator(const State& state) : pool(options(state)) {}

    ReplicaPool pool;
    std::mutex mutex;
    std::optional<Evaluation> last;
};

std::string newName() {
    std::random_device random;
    std::ostringstream name;
    for (int k = 0; k < 4; k++)
        name << std::hex << random() << '-';
    return name.str();
}

/// TorchForce pickles its module and reads it back for every Context; that must not make new Contexts
/// of the molecule each time.
std::shared_ptr<Evaluator> evaluatorOf(const State& state) {
    static std::mutex mutex;
    static std::map<std::string, std::weak_ptr<Evaluator>> named;
    std::lock_guard<std::mutex> lock(mutex);
    const std::string& name = std::get<7>(state);
    std::shared_ptr<Evaluator> evaluator = named[name].lock();
    if (!evaluator)
        named[name] = evaluator = std::make_shared<Evaluator>(state);
    for (auto entry = named.begin(); entry != named.end();)
        entry = entry->second.expired() ? named.erase(entry) : std::next(entry);
    return evaluator;
}

} // namespace

class TorchPotential : public torch::CustomClassHolder {
  public:
    TorchPotential(std::string systemXml, std::string platform, Properties properties, int64_t replicas,
                   Parameters parameters, std::vector<double> box, int64_t forceGroups)
        : TorchPotential(
              State(systemXml, platform, properties, replicas, parameters, box, forceGroups, newName())) {}

    explicit TorchPotential(State state) : made(std::move(state)), shared(evaluatorOf(made)) {}

    /// (B, N, 3) positions -> (B,) energies and (B, N, 3) forces, float64 on the CPU.
    std::tuple<torch::Tensor, torch::Tensor> evaluate(const torch::Tensor& positions) {
        const int64_t particles = shared->pool.particles();
        TORCH_CHECK_VALUE(
            positions.dim() == 3 && positions.size(1) == particles && positions.size(2) == 3,
            "positions have shape ", positions.sizes(), "; this Potential needs (batch, ", particles, ", 3)");
        TORCH_CHECK_TYPE(
            positions.is_floating_point(), "positions are ", positions.dtype(), "; they must be float32 or float64");
        const torch::Tensor x = positions.detach().to(torch::kCPU, torch::kFloat64).contiguous();
        torch::Tensor energies = torch::empty({x.size(0)}, torch::kFloat64);
        torch::Tensor forces = torch::empty_like(x);
        try {
            shared->pool.evaluate(x.data_ptr<double>(), static_cast<int>(x.size(0)), energies.data_ptr<double>(),
                                  forces.data_ptr<double>());
        }
        catch (const std::invalid_argument& error) {
            TORCH_CHECK_VALUE(false, error.what());
        }
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->last = Evaluation(x, energies, forces);
        return {energies, forces};
    }

    /// (B, N, 3) positions -> (B,) energies whose gradient is the negative forces of the same evaluation.
    torch::Tensor energy(const torch::Tensor& positions);

    /// Positions, energies and forces of the latest evaluation, by this Potential or a copy of it.
    Evaluation last() const {
        std::lock_guard<std::mutex> lock(shared->mutex);
        TORCH_CHECK_VALUE(shared->last, "this Potential has evaluated nothing yet");
        return *shared->last;
    }

    int64_t numParticles() const { return shared->pool.particles(); }
    int64_t numReplicas() const { return shared->pool.replicas(); }
    int64_t numEvaluations() const { return shared->pool.evaluations(); }
    std::string platform() const { return shared->pool.platform(); }
    State state() const { return made; }

  private:
    State made;
    std::shared_ptr<Evaluator> shared;
};

namespace {

class Energy : public torch::autograd::Function<Energy> {
  public:
    static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& positions,
                                 TorchPotential* potential) {
        const auto [energies, forces] = potential->evaluate(positions);
        context->save_for_backward({forces.to(positions.device(), positions.scalar_type())});
        return energies.to(positions.device());
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const torch::Tensor forces = context->get_saved_variables()[0];
        return {-forces * gradients[0].to(forces.scalar_type()).view({-1, 1, 1}), torch::Tensor()};
    }
};

} // namespace

torch::Tensor TorchPotential::energy(const torch::Tensor& positions) { return Energy::apply(positions, this); }

namespace {

/// As TORCH_LIBRARY does, but a second copy of this library in one process (an old one in OpenMM's plugin
/// folder beside a new build) leaves the first one's class in place rather than ending the process.
bool registerClass() {
    if (torch::getCustomClass("__torch__.torch.classes.openmm_reparam.Potential"))
        return false;
    static torch::Library library(torch::Library::DEF, "openmm_reparam", std::nullopt, __FILE__, __LINE__);
    library.class_<TorchPotential>("Potential")
        .def(torch::init<std::string, std::string, Properties, int64_t, Parameters, std::vector<double>, int64_t>())
        .def("evaluate", &TorchPotential::evaluate)
        .def("energy", &TorchPotential::energy)
        .def("last", &TorchPotential::last)
        .def("num_particles", &TorchPotential::numParticles)
        .def("num_replicas", &TorchPotential::numReplicas)
        .def("num_evaluations", &TorchPotential::numEvaluations)
        .def("platform", &TorchPotential::platform)
        .def_pickle(
            [](const c10::intrusive_ptr<TorchPotential>& self) { return self->state(); },
            [](State state) { return c10::make_intrusive<TorchPotential>(std::move(state)); });
    return true;
}

[[maybe_unused]] const bool registered = registerClass();

} // namespace

} // namespace openmm_reparam

