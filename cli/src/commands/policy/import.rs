//! `tidegate policy import`.

use std::io::Write;

use tidegate_policy::{ImportAs, import, load};

use super::args::ImportArgs;
use super::job;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &ImportArgs) -> Result<Exit, Failure> {
    let file = args.file.display().to_string();
    let text = job::text(&args.file)?;
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("imported");
    let named = ImportAs { id: args.id.as_deref().unwrap_or(stem), revision: args.revision };
    let imported = import(&file, &text, &named).map_err(|refused| Failure::new(Exit::Config, refused))?;
    // What is handed out loads; anything else is a defect here and nobody's policy.
    load([("imported.yaml", &imported.bundle)], None)
        .map_err(|refused| Failure::say(Exit::Config, format!("the imported bundle is refused here: {refused}")))?;
    for note in &imported.notes {
        eprintln!("note: {file}:{note}");
    }
    if let Some(to) = &args.to {
        let written = std::fs::File::create_new(to).and_then(|mut out| out.write_all(imported.bundle.as_bytes()));
        written.map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be written: {error}", to.display())))?;
    }
    match global.output {
        Output::Json => {
            let notes: Vec<_> =
                imported.notes.iter().map(|note| serde_json::json!({ "line": note.line, "text": note.text })).collect();
            output::json(&serde_json::json!({ "bundle": imported.bundle, "rules": imported.rules, "notes": notes }));
        }
        Output::Text if args.to.is_none() => output::text_line(imported.bundle.trim_end()),
        Output::Text => output::text_line(&format!("{} rules imported", imported.rules)),
    }
    Ok(Exit::Done)
}
