// Reads TorchForces from XML with OpenMM 8.6 and openmmtorch 1.5.
//
// SerializationNode::getStringProperty returned a reference until OpenMM 8.5 and returns a string since.
// The symbol has the same name, so that openmmtorch 1.5, built before, still loads, and crashes where
// it deserializes. This proxy does that part of its work; openmmtorch itself writes, and makes the
// TorchForce. Its symbols are looked up at run time: nothing here needs openmmtorch to build or to load.

#include <dlfcn.h>

#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <typeinfo>

#include <torch/script.h>

#include "OpenMM.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"

using namespace OpenMM;

namespace {

using Properties = std::map<std::string, std::string>;

// The latest format of openmmtorch 1.5.
constexpr int VERSION = 4;
// More than a TorchForce takes; its class is not declared in any header of a wheel.
constexpr size_t MEMORY = 16384;

template <class Function> Function* symbol(const char* name) {
    // Only if it is loaded already; what a plugin depends on is in no global scope.
    void* const library = dlopen("libOpenMMTorch.so", RTLD_LAZY | RTLD_NOLOAD);
    return library ? reinterpret_cast<Function*>(dlsym(library, name)) : nullptr;
}

/// What of openmmtorch is called; empty pointers where it is not loaded, or is another version.
struct TorchForceSymbols {
    const std::type_info* type = symbol<const std::type_info>("_ZTIN11TorchPlugin10TorchForceE");
    void (*construct)(void*, const torch::jit::Module&, const Properties&) =
        symbol<void(void*, const torch::jit::Module&, const Properties&)>(
            "_ZN11TorchPlugin10TorchForceC1ERKN5torch3jit6ModuleERKSt3mapINSt7__cxx1112basic_stringIcSt11char_"
            "traitsIcESaIcEEESC_St4lessISC_ESaISt4pairIKSC_SC_EEE");
    void (*setUsesPeriodic)(void*, bool) =
        symbol<void(void*, bool)>("_ZN11TorchPlugin10TorchForce33setUsesPeriodicBoundaryConditionsEb");
    void (*setOutputsForces)(void*, bool) =
        symbol<void(void*, bool)>("_ZN11TorchPlugin10TorchForce16setOutputsForcesEb");
    int (*addGlobalParameter)(void*, const std::string&, double) = symbol<int(void*, const std::string&, double)>(
        "_ZN11TorchPlugin10TorchForce18addGlobalParameterERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEd");
    void (*addDerivative)(void*, const std::string&) = symbol<void(void*, const std::string&)>(
        "_ZN11TorchPlugin10TorchForce28addEnergyParameterDerivativeERKNSt7__cxx1112basic_stringIcSt11char_"
        "traitsIcESaIcEEE");

    bool complete() const {
        return type && construct && setUsesPeriodic && setOutputsForces && addGlobalParameter && addDerivative;
    }
};

torch::jit::Module decoded(const std::string& hex) {
    std::string bytes(hex.size() / 2, '\0');
    for (size_t i = 0; i < bytes.size(); i++)
        bytes[i] = static_cast<char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
    std::istringstream stream(bytes);
    return torch::jit::load(stream);
}

class TorchForceProxy : public SerializationProxy {
  public:
    TorchForceProxy(const SerializationProxy& original, const TorchForceSymbols& symbols)
        : SerializationProxy("TorchForce"), original(original), symbols(symbols) {}

    void serialize(const void* object, SerializationNode& node) const override {
        original.serialize(object, node);
    }

    void* deserialize(const SerializationNode& node) const override {
        if (node.getIntProperty("version") > VERSION || !node.hasProperty("encodedFileContents"))
            return original.deserialize(node);
        Properties properties;
        for (const SerializationNode* child : children(node, "Properties"))
            properties[child->getStringProperty("name")] = child->getStringProperty("value");
        const torch::jit::Module module = decoded(node.getStringProperty("encodedFileContents"));
        void* memory = ::operator new(MEMORY);
        try {
            symbols.construct(memory, module, properties);
        }
        catch (...) {
            ::operator delete(memory);
            throw;
        }
        // A TorchForce is a Force first of all: both lie at the same address.
        std::unique_ptr<Force> force(static_cast<Force*>(memory));
        if (node.hasProperty("name"))
            force->setName(node.getStringProperty("name"));
        force->setForceGroup(node.getIntProperty("forceGroup", 0));
        symbols.setUsesPeriodic(memory, node.getBoolProperty("usesPeriodic"));
        symbols.setOutputsForces(memory, node.getBoolProperty("outputsForces"));
        for (const SerializationNode* child : children(node, "GlobalParameters"))
            symbols.addGlobalParameter(
                memory, child->getStringProperty("name"), child->getDoubleProperty("default"));
        for (const SerializationNode* child : children(node, "ParameterDerivatives"))
            symbols.addDerivative(memory, child->getStringProperty("name"));
        return force.release();
    }

  private:
    static std::vector<const SerializationNode*> children(const SerializationNode& node, const std::string& name) {
        std::vector<const SerializationNode*> found;
        for (const SerializationNode& list : node.getChildren())
            if (list.getName() == name)
                for (const SerializationNode& child : list.getChildren())
                    found.push_back(&child);
        return found;
    }

    const SerializationProxy& original;
    const TorchForceSymbols symbols;
};

} // namespace

// OpenMM calls these once it has loaded every library of its plugin folder: openmmtorch's own proxy is there.
extern "C" OPENMM_EXPORT void registerPlatforms() {}

extern "C" OPENMM_EXPORT void registerKernelFactories() {
    const TorchForceSymbols symbols;
    if (!symbols.complete())
        return;
    const SerializationProxy& original = SerializationProxy::getProxy(*symbols.type);
    if (dynamic_cast<const TorchForceProxy*>(&original))
        return;
    SerializationProxy::registerProxy(*symbols.type, new TorchForceProxy(original, symbols));
}
