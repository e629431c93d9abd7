//! Which of a fixed set of fields have been met.

use super::refusal::Refusal;

/// Refuses fields that are unknown or stand twice.
pub(crate) struct Fields {
    inside: &'static str,
    known: &'static [&'static str],
    met: u32,
}

impl Fields {
    /// Top-level fields; at most 32 names.
    pub(crate) const fn new(known: &'static [&'static str]) -> Self {
        Self { inside: "", known, met: 0 }
    }

    /// Fields of the object `inside`.
    pub(crate) const fn within(inside: &'static str, known: &'static [&'static str]) -> Self {
        Self { inside, known, met: 0 }
    }

    pub(crate) fn meet(&mut self, name: &str) -> Result<(), Refusal> {
        let Some(number) = self.known.iter().position(|known| *known == name) else {
            let problem = format!("is not known; known are {}", self.known.join(", "));
            return Err(Refusal::field(&self.shown(name), problem));
        };
        let bit = 1_u32 << number;
        if self.met & bit != 0 {
            return Err(Refusal::field(&self.shown(name), "stands twice"));
        }
        self.met |= bit;
        Ok(())
    }

    fn shown(&self, name: &str) -> String {
        if self.inside.is_empty() { name.to_owned() } else { format!("{}.{name}", self.inside) }
    }
}
