//! The agent: jobs as processes, requests and calls of tools, and the builtins.
//!
//! | kind | a job is |
//! |---|---|
//! | [`CommandHandler`] | a process (below) |
//! | [`LoopHandler`] | a line to a process that is kept alive ([`stdio_loop`]) |
//! | [`HttpHandler`] | a request ([`http`]) |
//! | [`McpHandler`] | a call of a tool of an MCP server ([`mcp`]) |
//! | [`Builtin`] | nothing much, for tests and load |
//!
//! [`CommandHandler`] starts the command once per job. The contract with it:
//!
//! * **stdin**: the payload as JSON text (`null` when there is none; a binary payload as a JSON string of base64, see
//!   `TIDEGATE_PAYLOAD_ENCODING`), then end of file. The command need not read it.
//! * **environment**: the worker's own, less every `TIDEGATE_*` variable of it (they may hold the worker's secrets), plus
//!   those of [`environment::VARIABLES`] about the job. One names a file with the job's ticket, by which the command may spawn
//!   jobs (`tidegate submit --parent-ticket`).
//! * **constraints** ([`crate::constraints`]): under any `sandbox` the command runs in an empty folder of its own, which goes
//!   with all that is in it when the job is over, and of the worker's environment has [`environment::HANDED_ON`] alone. A
//!   command that `toolchain.allowed_commands` does not name is not started.
//! * **stdout**: the result. JSON if it parses as one value, otherwise a JSON string (one trailing newline taken off,
//!   invalid UTF-8 replaced); nothing at all means no result. At most 256 KiB unless configured; more is a failure.
//! * **stderr**: for people. Its last 4 KiB are the reason of a failure.
//! * **exit code**: 0 is success. 75 (`EX_TEMPFAIL` of sysexits.h) is a failure that may have passed by the next attempt:
//!   the job is tried again after a pause, until its attempts are used up. Any other, or death by a signal, is a final failure.
//!   A command that cannot be started is no fault of its job, which is tried again too ([`startable`] looks before any job comes).
//! * **cancel** (deadline, longest runtime, lost lease, drain limit): SIGTERM to its process group, SIGKILL after the grace (5 s unless
//!   configured; keep it below the worker's `cancel_grace`). A command that then exits with 0 has succeeded.
//! * **process group**: each command leads one of its own. What is left of the group when the command ends is killed,
//!   so nothing of a job outlives it; a process that must, leaves the group (`setsid`) and lets go of stdout.
//!
//! Unix only.

pub mod builtin;
mod child;
pub mod command;
pub mod environment;
pub mod http;
mod lines;
pub mod mcp;
mod output;
mod program;
mod startable;
pub mod stdio_loop;
pub mod web;

pub use builtin::{Builtin, UnknownBuiltin};
pub use command::CommandHandler;
pub use http::HttpHandler;
pub use mcp::{BadServer, McpHandler, McpServer};
pub use program::{EmptyCommand, Gateway};
pub use startable::{NotStartable, startable};
pub use stdio_loop::LoopHandler;
pub use web::{BadEndpoint, Endpoint};
