//! `tidegate policy sign`.

use tidegate_node::policy_folder::read_files;
use tidegate_node::policy_signature;
use tidegate_protocol::ids::KeyId;

use super::args::SignArgs;
use super::{folder_of, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: SignArgs) -> Result<Exit, Failure> {
    let folder = folder_of(global, args.folder)?;
    let id = KeyId::new(&args.key).map_err(|error| Failure::new(Exit::Usage, error))?;
    let key = tidegate_keys::read(id, &args.key_file).map_err(|error| Failure::new(Exit::Config, error))?;
    // What no kernel would load is not signed.
    let policy = load(&folder)?;
    let files = read_files(&folder).map_err(|error| Failure::new(Exit::Config, error))?;
    let mut text = policy_signature::sign(&key, &files).map_err(|error| Failure::new(Exit::Software, error))?;
    text.push(b'\n');
    let to = folder.join(policy_signature::FILE);
    // Renamed into place: a kernel that looks now finds the old one or the new.
    let draft = folder.join(format!(".{}.new", policy_signature::FILE));
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &to));
    written.map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be written: {error}", to.display())))?;
    match global.output {
        Output::Json => output::json(&serde_json::json!({
            "file": to, "key": args.key, "bundles": files.len(), "revision": policy.revision(), "snapshot": policy.name(),
        })),
        Output::Text => output::text_line(&format!(
            "{} signed by {}: {} bundles, revision {}, snapshot {}",
            folder.display(),
            args.key,
            files.len(),
            policy.revision(),
            policy.short_name()
        )),
    }
    Ok(Exit::Done)
}
