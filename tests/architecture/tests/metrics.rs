//! Alerts, dashboard and scaling name only metrics that there are, and every metric that is declared is used.
//!
//! A name stands once as a literal in a constant (alone, or in a table with its sentence) or where it is recorded. A constant
//! whose only other mention is in a function `describe…`, which gives the exporter its sentence, is a metric that nobody sets: it has to
//! be used by some other code of its package.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tidegate_architecture::workspace;

/// Where metrics are named for people and machines that watch.
const WATCHERS: [&str; 3] = ["deploy/prometheus/", "deploy/grafana/", "deploy/keda/"];

fn text(path: &str) -> String {
    workspace::text(path).unwrap().unwrap_or_default()
}

/// Words that begin as our metrics do.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("tidegate_").map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect()).collect()
}

/// Without what an exporter adds to a histogram's name.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// A source file: its package's folder, its constants by name, and its code beside them and beside what only describes.
struct Source {
    package: String,
    constants: Vec<(String, String)>,
    code: String,
}

/// Where the block that opens next at or behind `from` ends.
fn end_of_block(text: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return from + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// What `begins` stands before is cut out up to where `end` says.
fn cut(text: &mut String, begins: &str, end: impl Fn(&str, usize) -> usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(begins).map(|at| from + at) {
        let end = end(text, at);
        out.push(text[at..end].to_owned());
        text.replace_range(at..end, "");
        from = at;
    }
    out
}

impl Source {
    fn of(path: &str, text: &str) -> Self {
        let mut code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
        if let Some(tests) = code.find("#[cfg(test)]\nmod tests {") {
            code.truncate(tests);
        }
        if ["describe_counter!", "describe_gauge!", "describe_histogram!"].iter().any(|macro_| code.contains(macro_)) {
            cut(&mut code, "fn describe", end_of_block);
        }
        let mut code = code.replace("const fn", "fn");
        let until = |text: &str, at: usize| text[at..].find(";\n").map_or(text.len(), |end| at + end);
        let constants = cut(&mut code, "const ", until);
        let name = |constant: &str| constant["const ".len()..].split(':').next().unwrap_or_default().trim().to_owned();
        let package = path.split("/src/").next().unwrap_or_default().to_owned();
        Self { package, constants: constants.into_iter().map(|c| (name(&c), c)).collect(), code }
    }

    fn mentions(&self, name: &str) -> bool {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.code
            .match_indices(name)
            .any(|(at, _)| !self.code[..at].ends_with(word) && !self.code[at + name.len()..].starts_with(word))
    }
}

/// Names in quotes, as they are recorded; words of comments are none.
fn literals(text: &str) -> BTreeSet<String> {
    named(text).into_iter().filter(|name| text.contains(&format!("\"{name}\""))).collect()
}

#[test]
fn every_metric_is_used_beside_its_sentence_and_what_is_watched_is_exported() {
    let tracked = workspace::tracked().unwrap();
    let source = |path: &&String| {
        let reads_them = path.starts_with("tests/") || path.starts_with("bench/");
        path.ends_with(".rs") && path.contains("/src/") && !reads_them
    };
    let sources: Vec<Source> = tracked.iter().filter(source).map(|path| Source::of(path, &text(path))).collect();
    let mut exported = BTreeSet::new();
    for source in &sources {
        exported.extend(literals(&source.code));
    }
    let mut unused = Vec::new();
    for source in &sources {
        for (constant, text) in &source.constants {
            let is_used = sources.iter().any(|other| other.package == source.package && other.mentions(constant));
            let names = literals(text).into_iter();
            if is_used {
                exported.extend(names);
            } else {
                let unknown = names.filter(|name| !exported.contains(name));
                unused.extend(unknown.map(|name| format!("{name} ({constant} of {})", source.package)));
            }
        }
    }
    assert!(unused.is_empty(), "declared, described, and never set: {unused:?}");
    assert!(exported.len() > 80, "{} metrics are exported", exported.len());
    let mut watched = 0;
    for path in tracked.iter().filter(|path| WATCHERS.iter().any(|folder| path.starts_with(folder))) {
        for name in named(&text(path)) {
            watched += 1;
            assert!(exported.contains(base(&name)), "{path} names `{name}`, which nothing exports");
        }
    }
    assert!(watched > 20, "{watched} metrics are watched");
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let text = text("deploy/grafana/tidegate.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| expr.contains("tidegate_"))));
    }
}
