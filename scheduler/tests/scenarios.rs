//! Every file in `tests/scenarios` is a story: lines with `>` are what happens, the lines under them what follows.
//!
//! `SCENARIOS=write cargo test -p tidegate-scheduler --test scenarios` writes what follows anew; read the diff.

mod driver;
mod story;

use std::fs;
use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "the stories are files")]
fn every_story_is_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let write = std::env::var("SCENARIOS").is_ok_and(|how| how == "write");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 8, "stories are missing in {}", folder.display());
    let mut differ = Vec::new();
    for path in files {
        let written = fs::read_to_string(&path).unwrap();
        let told = story::tell(&written);
        if told != written {
            if write {
                fs::write(&path, &told).unwrap();
            } else {
                differ.push(format!("{}\n{}", path.display(), first_difference(&written, &told)));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

fn first_difference(written: &str, told: &str) -> String {
    let (mut written, mut told) = (written.lines(), told.lines());
    for number in 1.. {
        let (is, should) = (told.next(), written.next());
        if is != should {
            return format!("line {number}: written `{}`, told `{}`", should.unwrap_or(""), is.unwrap_or(""));
        }
    }
    String::new()
}
