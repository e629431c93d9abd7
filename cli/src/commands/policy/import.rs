//! `tidegate policy import`.

use std::io::Write;

use tidegate_policy::{ImportAs, import, load};

use super::args::ImportArgs;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &ImportArgs) -> Result<Exit, Failure> {
    let file = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::say(Exit::Data, format!("`{file}` cannot be read: {error}")))?;
    let name = args.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("imported");
    let id = args.id.as_deref().unwrap_or(named);
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) || id.starts_with('.') {
        let reason = format!(
            "`{id}` is no name for a bundle and its file; name it by `--id`, in letters, digits, `.`, `_` and `-`"
        );
        return Err(Failure::say(Exit::Usage, reason));
    }
    let imported = import(&file, &text, ImportAs { id, revision: args.revision })
        .map_err(|refused| Failure::new(Exit::Data, refused))?;
    for note in &imported.notes {
        eprintln!("note: {file}:{note}");
    }
    if let Err(refused) = load([(format!("{id}.yaml"), &imported.bundle)], None) {
        eprintln!("note: the bundle is whole, but the kernel of this version does not take it yet: {refused}");
    }
    if let Some(out) = &args.out {
        let to = out.join(format!("{id}.yaml"));
        let written = std::fs::File::create_new(&to).and_then(|mut to| to.write_all(imported.bundle.as_bytes()));
        written
            .map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be written: {error}", to.display())))?;
    }
    match global.output {
        Output::Json => {
            let notes: Vec<_> =
                imported.notes.iter().map(|note| serde_json::json!({ "line": note.line, "text": note.text })).collect();
            output::json(&serde_json::json!({ "bundle": imported.bundle, "rules": imported.rules, "notes": notes }));
        }
        Output::Text if args.out.is_none() => output::text_line(imported.bundle.trim_end()),
        Output::Text => output::text_line(&format!("{} rules imported", imported.rules)),
    }
    Ok(Exit::Done)
}
