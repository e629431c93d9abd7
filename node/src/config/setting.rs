//! Settings passed on to the broker's client, with secrets kept elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts of names whose values are not shown.
const SECRET: [&str; 6] = ["password", "secret", "token", "jaas", "credential", "passphrase"];

/// One setting as written.
#[derive(Clone, PartialEq, Eq)]
pub enum Setting {
    /// The value itself.
    Value(String),
    /// The text of a file, white space at its end removed.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Settings by name.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub BTreeMap<String, Setting>);

/// A setting's value cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingUnread {
    /// Its file cannot be read.
    #[error("setting `{name}`: file `{file}` cannot be read; make it readable or correct the path")]
    File {
        /// The setting.
        name: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its variable is not there.
    #[error("setting `{name}`: environment variable `{variable}` is not set, or not UTF-8; set it")]
    Env {
        /// The setting.
        name: String,
        /// The variable.
        variable: String,
    },
}

impl Settings {
    /// As whom the client connects, where that is written here.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self.0.get("sasl.username") {
            Some(Setting::Value(user)) => Some(user.clone()),
            Some(Setting::File(_) | Setting::Env(_)) | None => None,
        }
    }

    /// The values, files and variables read.
    ///
    /// # Errors
    /// [`SettingUnread`] for the first that cannot be had.
    pub fn resolve(&self) -> Result<BTreeMap<String, String>, SettingUnread> {
        let value = |(name, setting): (&String, &Setting)| {
            let value = match setting {
                Setting::Value(value) => value.clone(),
                Setting::File(file) => std::fs::read_to_string(file)
                    .map_err(|source| SettingUnread::File { name: name.clone(), file: file.clone(), source })?
                    .trim_end()
                    .to_owned(),
                Setting::Env(variable) => std::env::var(variable)
                    .map_err(|_| SettingUnread::Env { name: name.clone(), variable: variable.clone() })?,
            };
            Ok((name.clone(), value))
        };
        self.0.iter().map(value).collect()
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part)) || name.ends_with("key") || name.ends_with("key.pem")
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, setting)| (name, shown(name, setting)))).finish()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, setting) in &self.0 {
            map.serialize_entry(name, &shown(name, setting))?;
        }
        map.end()
    }
}

/// As it may be shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Value(&'a str),
    File { file: &'a PathBuf },
    Env { env: &'a str },
}

fn shown<'a>(name: &str, setting: &'a Setting) -> Shown<'a> {
    match setting {
        Setting::Value(_) if is_secret(name) => Shown::Value("***"),
        Setting::Value(value) => Shown::Value(value),
        Setting::File(file) => Shown::File { file },
        Setting::Env(env) => Shown::Env { env },
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SettingVisitor)
    }
}

struct SettingVisitor;

impl<'de> Visitor<'de> for SettingVisitor {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, `{file: PATH}` or `{env: NAME}`")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Value(text.to_owned()))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
        Ok(Setting::Value(value.to_string()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
        Ok(Setting::Value(value.to_string()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
        Ok(Setting::Value(value.to_string()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Setting, E> {
        Ok(Setting::Value(value.to_string()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
        let setting = match map.next_entry::<String, String>()? {
            Some((key, path)) if key == "file" => Setting::File(path.into()),
            Some((key, variable)) if key == "env" => Setting::Env(variable),
            Some((key, _)) => return Err(A::Error::custom(format!("unknown key `{key}`, expected `file` or `env`"))),
            None => return Err(A::Error::custom("an empty map, expected `file` or `env`")),
        };
        match map.next_key::<String>()? {
            None => Ok(setting),
            Some(key) => Err(A::Error::custom(format!("a second key `{key}`; write either `file` or `env`"))),
        }
    }
}
