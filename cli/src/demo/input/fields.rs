//! The top-level fields of a JSON object, in order, each with its text as it stands.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Names;
use super::label::LABELS;

/// All of them; one that stands twice is there twice.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The value of the first field of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// The same, when it is a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Whether it is a tool call of a trace, not a job.
    pub(super) fn is_call(&self) -> bool {
        self.get("function").is_some() && self.get("args").is_some()
    }

    pub(super) fn has_labels(&self) -> bool {
        self.0.iter().any(|(name, _)| LABELS.contains(&name.as_str()))
    }

    /// The object without its labels; every value keeps its text.
    pub(super) fn without_labels(&self) -> String {
        let mut out = String::from("{");
        for (name, value) in self.0.iter().filter(|(name, _)| !LABELS.contains(&name.as_str())) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(name.as_str()).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }

    pub(super) fn names(&self) -> Names {
        #[derive(Deserialize)]
        struct Actor {
            id: String,
        }
        let actor = self.get("actor").and_then(|actor| serde_json::from_str::<Actor>(actor.get()).ok());
        Names {
            id: self.text("id"),
            tenant: self.text("tenant"),
            actor: actor.map(|actor| actor.id),
            topic: self.text("topic"),
            capability: self.text("capability"),
            payload: self.get("payload").map(ToOwned::to_owned),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Each).map(Self)
    }
}
