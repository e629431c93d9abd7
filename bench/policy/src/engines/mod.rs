//! The engines of the workspace.

mod cel;
mod own;

pub use cel::{Cel, IndexedCel};
pub use own::OwnEngine;
