//! Patterns of `matches()`: compiled once, when the condition loads, by the linear-time `regex` crate.

use regex::{Regex, RegexBuilder};
use std::fmt;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 512;

/// Sizes a compiled pattern is tried with, in bytes; the last is the most one may have.
const SIZES: &[usize] = &[1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 128 << 10];

/// What a search may keep of the automaton it builds as it goes, in bytes.
const SEARCH_BYTES: usize = 1 << 20;

/// What a byte of a text costs at worst for each KiB of the compiled pattern.
const UNITS_PER_BYTE_AND_KIB: u64 = 80;

/// A compiled pattern.
pub(super) struct Pattern {
    regex: Regex,
    /// The least of [`SIZES`] it fits in.
    size: usize,
}

impl Pattern {
    /// Compiles a pattern, or says why not.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("the pattern has {} bytes, more than {MAX_PATTERN_BYTES}", text.len()));
        }
        for &size in SIZES {
            let built = RegexBuilder::new(text).size_limit(size).dfa_size_limit(SEARCH_BYTES).nest_limit(32).build();
            match built {
                Ok(regex) => return Ok(Self { regex, size }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(last_line(&error)),
            }
        }
        Err(format!(
            "the pattern is too large once compiled, more than {} KiB",
            SIZES.last().map_or(0, |size| size >> 10)
        ))
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub(super) fn text(&self) -> &str {
        self.regex.as_str()
    }

    /// What searching a text of so many bytes costs at worst, in the units of [`cost`](super::cost). The search builds an
    /// automaton as it goes; where that grows beyond its bound, each byte may visit every state.
    pub(super) fn cost(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.size as u64 / 1024 * UNITS_PER_BYTE_AND_KIB)
    }
}

/// The crate's message draws the pattern; its last line says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("not a pattern");
    line.trim_start_matches("error: ").to_owned()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text()).finish()
    }
}
