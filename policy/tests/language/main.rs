//! The language as its users meet it: through files and jobs, never through internals.

#![expect(clippy::panic, reason = "a test that meets what it does not expect must fail")]

mod cases;
mod combining;
mod explaining;
mod linting;
mod loading;
mod naming;
mod state;
mod uncertainty;
