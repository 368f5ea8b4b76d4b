// The class as TorchScript sees it: shapes and dtypes, pickling, and a life beyond its last name.

#include <sstream>
#include <thread>

#include <torch/custom_class.h>
#include <torch/script.h>

#include "checks.h"
#include "systems.h"

namespace {

c10::IValue make(const std::string& xml, int64_t replicas) {
    auto type = torch::getCustomClass("__torch__.torch.classes.openmm_reparam.Potential");
    REQUIRE(type != nullptr);
    c10::IValue object = c10::ivalue::Object::create(c10::StrongTypePtr(nullptr, type), 1);
    c10::Dict<std::string, std::string> properties;
    c10::Dict<std::string, double> parameters;
    type->getMethod("__init__")({object, xml, std::string("Reference"), properties, replicas, parameters,
                                 std::vector<double>(), int64_t(-1)});
    return object;
}

torch::Tensor energies(const c10::IValue& potential, const torch::Tensor& x) {
    auto& method = potential.toObject()->type()->getMethod("evaluate");
    return method({potential, x}).toTuple()->elements()[0].toTensor();
}

torch::Tensor pair_at(double distance, torch::ScalarType dtype = torch::kFloat64) {
    return torch::tensor({0.0, 0.0, 0.0, distance, 0.0, 0.0}, dtype).view({1, 2, 3});
}

double closed_form(double distance) {
    return 0.5 * STIFFNESS * (distance - LENGTH) * (distance - LENGTH);
}

void testEvaluate() {
    const c10::IValue potential = make(harmonic_pair(), 3);
    REQUIRE_CLOSE(energies(potential, pair_at(0.2)).item<double>(), closed_form(0.2), 1e-9);
    // Single precision comes in, double precision goes out.
    const torch::Tensor single = energies(potential, pair_at(0.2, torch::kFloat32));
    REQUIRE(single.scalar_type() == torch::kFloat64);
    REQUIRE_CLOSE(single.item<double>(), closed_form(0.2), 1e-3);
    // Not contiguous, and three at a time.
    const torch::Tensor batch = torch::cat({pair_at(0.1), pair_at(0.2), pair_at(0.3)}).permute({2, 1, 0}).contiguous();
    const torch::Tensor found = energies(potential, batch.permute({2, 1, 0}));
    for (int b = 0; b < 3; b++)
        REQUIRE_CLOSE(found[b].item<double>(), closed_form(0.1 * (b + 1)), 1e-9);
}

void testGradientIsTheForces() {
    const c10::IValue potential = make(harmonic_pair(), 2);
    auto& energy = potential.toObject()->type()->getMethod("energy");
    for (auto dtype : {torch::kFloat64, torch::kFloat32}) {
        torch::Tensor x = torch::cat({pair_at(0.2, dtype), pair_at(0.1, dtype)}).requires_grad_(true);
        const torch::Tensor found = energy({potential, x}).toTensor();
        REQUIRE_CLOSE(found[1].item<double>(), closed_form(0.1), 1e-3);
        (found * torch::tensor({1.0, 3.0}, torch::kFloat64)).sum().backward();
        REQUIRE(x.grad().scalar_type() == dtype);
        REQUIRE_CLOSE(x.grad()[0][1][0].item<double>(), STIFFNESS * (0.2 - LENGTH), 1e-2);
        REQUIRE_CLOSE(x.grad()[1][1][0].item<double>(), 3 * STIFFNESS * (0.1 - LENGTH), 1e-2);
    }
}

void testWrongTensors() {
    const c10::IValue potential = make(harmonic_pair(), 1);
    REQUIRE(contains(message_of([&] { energies(potential, torch::zeros({2, 3})); }), "(batch, 2, 3)"));
    REQUIRE(contains(message_of([&] { energies(potential, torch::zeros({1, 3, 3})); }), "(batch, 2, 3)"));
    REQUIRE(contains(message_of([&] { energies(potential, torch::zeros({1, 2, 3}, torch::kInt64)); }), "float64"));
    REQUIRE(contains(message_of([&] { energies(potential, torch::zeros({2, 2, 3})); }), "1 replicas"));
    REQUIRE(contains(message_of([&] { energies(potential, pair_at(std::nan(""))); }), "NaN"));
    REQUIRE(contains(message_of([] { make("no XML", 1); }), "cannot be read"));
}

void testPickling() {
    torch::jit::Module module("Holder");
    const c10::IValue potential = make(harmonic_pair(), 2);
    module.register_attribute("potential", potential.type(), potential);
    module.define(R"(
        def forward(self, x):
            energies, forces = self.potential.evaluate(x)
            return energies
    )");
    std::stringstream stream;
    module.save(stream);
    torch::jit::Module loaded = torch::jit::load(stream);
    const torch::Tensor x = torch::cat({pair_at(0.2), pair_at(0.25)});
    REQUIRE(torch::equal(loaded.forward({x}).toTensor(), module.forward({x}).toTensor()));
    // Both share their Contexts, and so the count.
    auto& count = potential.toObject()->type()->getMethod("num_evaluations");
    REQUIRE(count({potential}).toInt() == 4);
    auto& last = potential.toObject()->type()->getMethod("last");
    REQUIRE(torch::equal(last({potential}).toTuple()->elements()[0].toTensor(), x));
    // Another one of the same making does not.
    const c10::IValue other = make(harmonic_pair(), 2);
    REQUIRE(count({other}).toInt() == 0);
    REQUIRE(contains(message_of([&] { last({other}); }), "nothing yet"));
}

void testDestructionWhileOthersEvaluate() {
    for (int round = 0; round < 20; round++) {
        std::vector<std::thread> threads;
        {
            const c10::IValue potential = make(lennard_jones(50), 3);
            const torch::Tensor x = torch::rand({3, 50, 3}, torch::kFloat64);
            for (int t = 0; t < 3; t++)
                threads.emplace_back([potential, x] {
                    for (int k = 0; k < 5; k++)
                        REQUIRE(torch::isfinite(energies(potential, x)).all().item<bool>());
                });
        } // The last name here is gone; the threads hold theirs until they are done.
        for (auto& thread : threads)
            thread.join();
    }
}

} // namespace

int main() {
    testEvaluate();
    testGradientIsTheForces();
    testWrongTensors();
    testPickling();
    testDestructionWhileOthersEvaluate();
    std::cout << "TorchPotential: all tests passed" << std::endl;
}
