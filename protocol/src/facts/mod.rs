//! The facts of the kernel and the scheduler: what their logs hold, as `{"<fact>": {…}}` (an internal tag would not carry
//! raw JSON through serde). A released version's meaning and what it
//! emits never change (golden files in `tests/golden`).

mod kernel;
mod scheduler;

pub use kernel::KernelFact;
pub use scheduler::{Holder, LeaseEnd, SchedulerFact, Token};
