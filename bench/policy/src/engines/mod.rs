//! The engines of the workspace.

mod cel;
mod own;

pub use cel::CelEngine;
pub use own::OwnEngine;
