// The TorchScript class openmm_reparam.Potential: OpenMM energies inside TorchScript models.

#include <torch/custom_class.h>
#include <torch/torch.h>

#include "openmm_reparam/ReplicaPool.h"

namespace openmm_reparam {

using Properties = c10::Dict<std::string, std::string>;
using Parameters = c10::Dict<std::string, double>;
// What a Potential is made of, and what is pickled.
using State = std::tuple<std::string, std::string, Properties, int64_t, Parameters, int64_t>;

class TorchPotential : public torch::CustomClassHolder {
  public:
    TorchPotential(std::string systemXml, std::string platform, Properties properties, int64_t replicas,
                   Parameters parameters, int64_t forceGroups)
        : made(systemXml, platform, properties, replicas, parameters, forceGroups), pool(options(made)) {}

    /// (B, N, 3) positions -> (B,) energies and (B, N, 3) forces, float64 on the CPU.
    std::tuple<torch::Tensor, torch::Tensor> evaluate(const torch::Tensor& positions) {
        const int64_t particles = pool.particles();
        TORCH_CHECK_VALUE(
            positions.dim() == 3 && positions.size(1) == particles && positions.size(2) == 3,
            "positions have shape ", positions.sizes(), "; this Potential needs (batch, ", particles, ", 3)");
        TORCH_CHECK_TYPE(
            positions.is_floating_point(), "positions are ", positions.dtype(), "; they must be float32 or float64");
        const torch::Tensor x = positions.detach().to(torch::kCPU, torch::kFloat64).contiguous();
        torch::Tensor energies = torch::empty({x.size(0)}, torch::kFloat64);
        torch::Tensor forces = torch::empty_like(x);
        try {
            pool.evaluate(x.data_ptr<double>(), static_cast<int>(x.size(0)), energies.data_ptr<double>(),
                          forces.data_ptr<double>());
        }
        catch (const std::invalid_argument& error) {
            TORCH_CHECK_VALUE(false, error.what());
        }
        return {energies, forces};
    }

    int64_t numParticles() const { return pool.particles(); }
    int64_t numReplicas() const { return pool.replicas(); }
    int64_t numEvaluations() const { return pool.evaluations(); }
    std::string platform() const { return pool.platform(); }
    State state() const { return made; }

  private:
    static PotentialOptions options(const State& state) {
        PotentialOptions options;
        options.systemXml = std::get<0>(state);
        options.platform = std::get<1>(state);
        for (const auto& entry : std::get<2>(state))
            options.properties[entry.key()] = entry.value();
        options.replicas = static_cast<int>(std::get<3>(state));
        for (const auto& entry : std::get<4>(state))
            options.parameters[entry.key()] = entry.value();
        options.forceGroups = static_cast<int>(std::get<5>(state));
        return options;
    }

    State made;
    ReplicaPool pool;
};

} // namespace openmm_reparam

TORCH_LIBRARY(openmm_reparam, library) {
    using openmm_reparam::TorchPotential;
    library.class_<TorchPotential>("Potential")
        .def(torch::init<std::string, std::string, openmm_reparam::Properties, int64_t,
                         openmm_reparam::Parameters, int64_t>())
        .def("evaluate", &TorchPotential::evaluate)
        .def("num_particles", &TorchPotential::numParticles)
        .def("num_replicas", &TorchPotential::numReplicas)
        .def("num_evaluations", &TorchPotential::numEvaluations)
        .def("platform", &TorchPotential::platform)
        .def_pickle(
            [](const c10::intrusive_ptr<TorchPotential>& self) { return self->state(); },
            [](openmm_reparam::State state) {
                return c10::make_intrusive<TorchPotential>(
                    std::get<0>(state), std::get<1>(state), std::get<2>(state), std::get<3>(state),
                    std::get<4>(state), std::get<5>(state));
            });
}
