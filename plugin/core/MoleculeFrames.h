#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace openmm_reparam {

/// Frames of small molecules, which turn along with them.
///
/// A step takes the atoms of a small molecule along as a whole, by its mean displacement and rotation, and only what is
/// left deforms it: turning a water does not stretch its bonds. Steps and forces of these atoms are numbers in the
/// molecule's frame, so that what was learned of its curvature before it turned stays right afterwards. Other atoms
/// move along straight lines.
class MoleculeFrames {
  public:
    /// Molecules of so many atoms have a frame, down to two.
    static constexpr size_t LARGEST = 6;

    /// A rotation matrix (9 numbers, row by row) for each molecule that has a frame: from there to the laboratory.
    using Frames = std::vector<double>;

    MoleculeFrames() = default;

    /// `molecules` are labels that count from 0; one with an atom that does not move has no frame.
    MoleculeFrames(const std::vector<int64_t>& molecules, const std::vector<uint8_t>& moves);

    bool empty() const {
        return atoms.empty();
    }

    /// Number of molecules with a frame.
    size_t count() const {
        return starts.empty() ? 0 : starts.size() - 1;
    }

    /// Whether most atoms have one.
    bool prevail() const {
        return 2 * atoms.size() > turns.size();
    }

    /// Those of the laboratory.
    Frames laboratory() const;

    /// Positions after a step; the frames turn along.
    std::vector<double> moved(const std::vector<double>& from, Frames& frames, const double* step) const;

    /// Turns vectors of atoms from the laboratory into the frames, and back.
    void enter(const Frames& frames, double* vectors) const;
    void leave(const Frames& frames, double* vectors) const;

    /// Turns the step asked for into the one that was taken, where constraints have bent it. Of a molecule that turns,
    /// the arc is the step, not the chord.
    void taken(const std::vector<double>& from, const std::vector<double>& to, double* step) const;

  private:
    void move(size_t molecule, const std::vector<double>& from, double* frame, const double* step,
              std::vector<double>& to) const;

    std::vector<size_t> starts; ///< of each molecule among `atoms`, and their end
    std::vector<int64_t> atoms;
    std::vector<uint8_t> turns; ///< whether an atom has a frame; empty where none has
};

} // namespace openmm_reparam
