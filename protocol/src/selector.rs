//! What a job says of the labels its worker must have, or had better have.
//!
//! In JSON an object of labels: `{"zone": "eu", "gpu": ["a100", "h100"], "ssd": true, "spot": false}`: this value, one of these, any
//! value, none. All of them must hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most labels of a selector, and of a worker.
pub const MOST_LABELS: usize = 64;
/// Most values of one label in a selector.
pub const MOST_VALUES: usize = 64;
/// Longest name or value of a label, bytes.
pub const MAX_LABEL_BYTES: usize = 128;

/// What must hold of one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// It has this value.
    Is(Box<str>),
    /// It has one of these.
    In(Vec<Box<str>>),
    /// It is there, or it is not.
    There(bool),
}

/// See the module. An empty one wants nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(BTreeMap<Box<str>, Wanted>);

/// Something that is no selector, or no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSelector {
    /// Too many labels.
    #[error("it has more than {MOST_LABELS} labels")]
    TooMany,
    /// The label stands twice.
    #[error("`{0}` stands twice")]
    Twice(Box<str>),
    /// A name or a value is empty, too long, or has control characters.
    #[error("`{0}` is not 1 to {MAX_LABEL_BYTES} bytes without control characters")]
    Text(Box<str>),
    /// A list without a value, or with too many.
    #[error("`{0}` has no value to be one of, or more than {MOST_VALUES}")]
    Values(Box<str>),
}

/// Whether it can be a label's name or value.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn label(text: &str) -> Result<&str, BadSelector> {
    let shown = || text.chars().filter(|c| !c.is_control()).take(80).collect::<String>().into();
    if is_label(text) { Ok(text) } else { Err(BadSelector::Text(shown())) }
}

impl Selector {
    /// Adds what must hold of a label.
    ///
    /// # Errors
    /// [`BadSelector`].
    pub fn want(&mut self, name: &str, wanted: Wanted) -> Result<(), BadSelector> {
        let name: Box<str> = label(name)?.into();
        match &wanted {
            Wanted::Is(value) => {
                label(value)?;
            }
            Wanted::In(values) => {
                if values.is_empty() || values.len() > MOST_VALUES {
                    return Err(BadSelector::Values(name));
                }
                values.iter().try_for_each(|value| label(value).map(|_| ()))?;
            }
            Wanted::There(_) => {}
        }
        if self.0.contains_key(&name) {
            return Err(BadSelector::Twice(name));
        }
        if self.0.len() >= MOST_LABELS {
            return Err(BadSelector::TooMany);
        }
        self.0.insert(name, wanted);
        Ok(())
    }

    /// Whether it wants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all that is wanted holds of these labels.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(name, wanted)| match (wanted, labels.get(&**name)) {
            (Wanted::Is(value), Some(found)) => **value == **found,
            (Wanted::In(values), Some(found)) => values.iter().any(|value| **value == **found),
            (Wanted::There(there), found) => *there == found.is_some(),
            (Wanted::Is(_) | Wanted::In(_), None) => false,
        })
    }

    /// What must hold, label by label.
    pub fn terms(&self) -> impl Iterator<Item = (&str, &Wanted)> {
        self.0.iter().map(|(name, wanted)| (&**name, wanted))
    }

    /// Bytes of its texts, roughly as written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |wanted: &Wanted| match wanted {
            Wanted::Is(value) => value.len() + 3,
            Wanted::In(values) => values.iter().map(|value| value.len() + 3).sum::<usize>() + 2,
            Wanted::There(_) => 5,
        };
        self.0.iter().map(|(name, wanted)| name.len() + 4 + of(wanted)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_that_is_wanted_must_hold() {
        let written = r#"{"gpu":["a100","h100"],"spot":false,"ssd":true,"zone":"eu"}"#;
        let selector: Selector = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&selector).unwrap(), written);
        let good = [("zone", "eu"), ("gpu", "h100"), ("ssd", "nvme"), ("other", "x")];
        assert!(selector.holds(&labels(&good)));
        for (at, other) in [(0, ("zone", "us")), (1, ("gpu", "t4")), (2, ("disk", "nvme")), (3, ("spot", "yes"))] {
            let mut bad = good;
            bad[at] = other;
            assert!(!selector.holds(&labels(&bad)), "{bad:?}");
        }
        assert!(!selector.holds(&labels(&[])) && Selector::default().holds(&labels(&[])));
    }

    #[test]
    fn what_cannot_be_a_selector_is_named() {
        let mut selector = Selector::default();
        selector.want("zone", Wanted::Is("eu".into())).unwrap();
        assert_eq!(selector.want("zone", Wanted::There(true)), Err(BadSelector::Twice("zone".into())));
        assert_eq!(selector.want("gpu", Wanted::In(Vec::new())), Err(BadSelector::Values("gpu".into())));
        assert!(matches!(selector.want("gpu", Wanted::Is("a\nb".into())), Err(BadSelector::Text(_))));
        assert!(matches!(selector.want(&"n".repeat(129), Wanted::There(true)), Err(BadSelector::Text(_))));
        for n in 1..MOST_LABELS {
            selector.want(&format!("n{n}"), Wanted::There(true)).unwrap();
        }
        assert_eq!(selector.want("more", Wanted::There(true)), Err(BadSelector::TooMany));
    }
}
