//! Who says something, and with which key.

use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_keys::SecretKey;
use tidegate_protocol::ids::{KeyId, PersonId};
use tidegate_protocol::signature::Sign;

use super::Reach;
use crate::exit::{Exit, Failure};

#[derive(Debug, Clone, Args)]
pub(crate) struct SigningArgs {
    /// File of this person's key (`tidegate keys create`); `approver.key` in the data folder of `tidegate dev` unless told
    #[arg(long, env = "TIDEGATE_SIGNING_KEY", value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// The key's name in records; the file's name without `.key` unless told
    #[arg(long, value_name = "NAME")]
    key_id: Option<String>,
    /// The person whose key it is, where that is not the key's name
    #[arg(long = "as", value_name = "PERSON")]
    person: Option<String>,
}

impl SigningArgs {
    /// The key: the file given, or the one of `tidegate dev`.
    pub(crate) fn key(&self, reach: &Reach) -> Result<SecretKey, Failure> {
        let file = self.signing_key.as_deref().map_or_else(|| reach.gateway.data.join("approver.key"), Path::to_owned);
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let id = self.key_id.as_deref().unwrap_or(&stem);
        let id = KeyId::new(id).map_err(|error| Failure::new(Exit::Usage, error))?;
        tidegate_keys::read(id, &file).map_err(|error| {
            let hint =
                "`tidegate keys create --role ROLE --id NAME --file NAME.key` makes one; give it with `--signing-key`";
            Failure::say(Exit::Config, format!("{error}; {hint}"))
        })
    }

    /// Whose it is.
    pub(crate) fn person(&self, key: &SecretKey) -> Result<PersonId, Failure> {
        let person = self.person.as_deref().unwrap_or_else(|| Sign::key(key).as_str());
        PersonId::new(person).map_err(|error| Failure::new(Exit::Usage, error))
    }
}
