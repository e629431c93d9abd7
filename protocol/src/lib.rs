//! Ids, envelopes, every record and every topic of Tidegate. No IO; depends on nothing of ours.

pub mod address;
