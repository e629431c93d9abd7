//! Placement beside a model that tries every pair.
