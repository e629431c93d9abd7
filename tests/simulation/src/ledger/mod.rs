//! The outside judge: naive readings of raw logs, written from DESIGN section 2 and `models/takeover.py` alone.
//!
//! Nothing here uses the stage crate's own reading; a defect there must show as a difference.

pub mod asking;
pub mod facts;
pub mod messages;
pub mod replay;
pub mod settling;
pub mod telling;
pub mod verdicts;
