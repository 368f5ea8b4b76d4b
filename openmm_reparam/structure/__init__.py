"""Chemistry of a structure: stereochemistry, violations, distances to another."""
