#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace openmm_reparam {

/// What a pool's Contexts are made of.
struct PotentialOptions {
    std::string systemXml;                      ///< as XmlSerializer writes it
    std::string platform;                       ///< an empty name lets OpenMM choose
    std::map<std::string, std::string> properties; ///< of the platform
    std::map<std::string, double> parameters;   ///< global parameters of the Contexts
    std::vector<double> box;                    ///< the three vectors in nm; empty for the System's own
    int forceGroups = -1;                       ///< bit mask
    int replicas = 1;                           ///< configurations that can be evaluated at once
};

/// Contexts of one System, one for each replica, evaluated by as many threads as there are cores.
///
/// Calls from several threads at once are served one after the other.
class ReplicaPool {
  public:
    /// Throws std::invalid_argument or OpenMM::OpenMMException with a message for a person.
    explicit ReplicaPool(const PotentialOptions& options);
    ~ReplicaPool();
    ReplicaPool(const ReplicaPool&) = delete;
    ReplicaPool& operator=(const ReplicaPool&) = delete;

    /// Energies in kJ/mol and forces in kJ/mol/nm of `batch` configurations.
    ///
    /// `positions` holds batch x particles x 3 numbers in nm; `forces` is filled alike, zero on
    /// particles that do not move. Throws if a configuration cannot be evaluated; the others then
    /// may or may not have been.
    void evaluate(const double* positions, int batch, double* energies, double* forces);

    int particles() const;
    int replicas() const;
    long long evaluations() const;
    std::string platform() const;

  private:
    class Replica;
    class Workers;
    struct Shared;
    std::unique_ptr<Shared> shared;
};

} // namespace openmm_reparam
