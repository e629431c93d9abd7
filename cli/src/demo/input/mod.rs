//! From lines to what is submitted.
//!
//! A line that is a job is submitted as it stands, byte for byte. A line of a trace (`function` and `args`) becomes a job
//! by the mapping. Any other line (broken JSON, a stray log line) is submitted as it stands too: the kernel says what is
//! wrong with it, and it ends in `dead`, as in a real stream.
//!
//! Labels (`goal`, `kind`, `task`, `step`) say what a line was meant to be. They stay here, beside the id under which the
//! line was submitted; no record carries them.

mod fields;
mod label;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::value::RawValue;
use tidegate_node::{Mapping, MappingWritten, envelope_of_line};
use tidegate_protocol::ids::JobId;

use fields::Fields;
pub(crate) use label::{Kind, Label};

/// One line on its way.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// Where it came from, for people: `stream.jsonl:17`.
    pub(crate) place: String,
    /// The bytes of the record.
    pub(crate) value: Bytes,
    /// What it was meant to be.
    pub(crate) label: Label,
    /// The names in it, as far as it could be read.
    pub(crate) names: Names,
}

/// What the submitter itself reads of a job, for its partition and the report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) id: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) capability: Option<String>,
    pub(crate) payload: Option<Box<RawValue>>,
}

impl Names {
    /// What was called, for people: the capability, and the topic where that says something else.
    pub(crate) fn function(&self) -> String {
        let capability = self.capability.as_deref().unwrap_or_default();
        let topic = self.topic.as_deref().unwrap_or_default();
        if topic.rsplit('.').next() == Some(capability) {
            capability.to_owned()
        } else {
            format!("{capability} as {topic}")
        }
    }
}

/// Lines, and what became of those that are no jobs.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) submissions: Vec<Submission>,
    /// Lines of traces that the mapping refuses; they are submitted all the same and end in `dead`.
    pub(crate) warnings: Vec<String>,
    ids: BTreeSet<String>,
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("input `{file}` cannot be read; give a file of JSON lines")]
pub(crate) struct InputUnread {
    file: PathBuf,
    source: std::io::Error,
}

/// The mapping cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mapping `examples/agentdojo/mapping.yaml`, built into this binary: {reason}")]
pub(crate) struct BadMapping {
    reason: String,
}

/// Reads a mapping as it is written.
///
/// # Errors
/// [`BadMapping`].
pub(crate) fn mapping(text: &str) -> Result<Mapping, BadMapping> {
    let written: MappingWritten = serde_saphyr::from_str(text).map_err(|e| BadMapping { reason: e.to_string() })?;
    Mapping::checked(&written).map_err(|(field, problem)| BadMapping { reason: format!("`{field}`: {problem}") })
}

impl Lines {
    /// Adds a file's lines.
    ///
    /// # Errors
    /// [`InputUnread`].
    pub(crate) fn add_file(&mut self, file: &Path, mapping: &Mapping) -> Result<(), InputUnread> {
        let bytes = std::fs::read(file).map_err(|source| InputUnread { file: file.to_owned(), source })?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        self.add(&name, &Bytes::from(bytes), mapping);
        Ok(())
    }

    /// Adds lines; `name` stands for their file. Empty ones are passed over.
    pub(crate) fn add(&mut self, name: &str, text: &Bytes, mapping: &Mapping) {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        for (number, line) in (1_usize..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value = text.slice_ref(line);
            let submission = self.submission(format!("{name}:{number}"), stem, number, value, mapping);
            self.submissions.push(submission);
        }
    }

    fn submission(&mut self, place: String, stem: &str, number: usize, line: Bytes, mapping: &Mapping) -> Submission {
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(&line) else {
            return Submission { place, value: line, label: Label::default(), names: Names::default() };
        };
        let label = Label::of(&fields);
        if !fields.is_call() {
            let value = if fields.has_labels() { fields.without_labels().into() } else { line.clone() };
            return Submission { place, value, label, names: fields.names() };
        }
        let id = self.unused_id(stem, number);
        let made = JobId::new(&id).map_err(|e| e.to_string());
        match made.and_then(|id| envelope_of_line(mapping, &line, Some(&id)).map_err(|refusal| refusal.detail)) {
            Ok(envelope) => {
                let names = serde_json::from_slice::<Fields<'_>>(&envelope).map(|f| f.names()).unwrap_or_default();
                Submission { place, value: envelope.into(), label, names }
            }
            Err(reason) => {
                self.warnings.push(format!("{place}: the mapping makes no job of it: {reason}"));
                Submission { place, value: line.clone(), label, names: Names::default() }
            }
        }
    }

    /// An id for a line without one: the file's name and the line's number, told apart when two files have one name.
    fn unused_id(&mut self, stem: &str, number: usize) -> String {
        let plain: String = stem.chars().filter(|c| !c.is_control()).take(100).collect();
        let mut id = format!("{plain}-{number}");
        let mut again = 2;
        while !self.ids.insert(id.clone()) {
            id = format!("{plain}-{number}-{again}");
            again += 1;
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::shipped;

    fn lines(text: &str) -> Lines {
        let mut lines = Lines::default();
        lines.add("calls.jsonl", &Bytes::from(text.to_owned()), &mapping(shipped::MAPPING).unwrap());
        lines
    }

    fn value(submission: &Submission) -> &str {
        std::str::from_utf8(&submission.value).unwrap()
    }

    #[test]
    fn a_job_is_submitted_byte_for_byte_and_its_labels_stay_here() {
        let plain = r#"{"id":"a", "tenant": "t",  "payload": {"b":1.50, "a":[ ]}}"#;
        let labelled = r#"{"id":"b", "kind":"injection", "payload": {"kind": "x",  "n": 1e2}, "goal": "g", "id":"c"}"#;
        let lines = lines(&format!("{plain}\r\n\n{labelled}\n"));
        let [first, second] = lines.submissions.as_slice() else { panic!("{lines:?}") };
        assert_eq!((value(first), first.label.kind, first.place.as_str()), (plain, None, "calls.jsonl:1"));
        // A field that stands twice is the kernel's to refuse, so both are sent.
        assert_eq!(value(second), r#"{"id":"b","payload":{"kind": "x",  "n": 1e2},"id":"c"}"#);
        assert_eq!((second.label.kind, second.label.goal.as_deref()), (Some(Kind::Injection), Some("g")));
        assert_eq!(second.place, "calls.jsonl:3");
    }

    #[test]
    fn a_line_of_a_trace_becomes_a_job_without_its_labels() {
        let line = r#"{"suite":"banking","task":"user_task_0","kind":"user","step":1,"goal":"secret goal","function":"send_money","args":{"amount":98.70}}"#;
        let lines = lines(&format!("{line}\n"));
        let submission = &lines.submissions[0];
        assert_eq!(
            value(submission),
            r#"{"id":"calls-1","tenant":"banking","topic":"job.banking.send_money","capability":"send_money","payload":{"amount":98.70}}"#
        );
        assert_eq!((submission.label.kind, submission.label.task.as_deref()), (Some(Kind::User), Some("user_task_0")));
        assert_eq!(submission.names.capability.as_deref(), Some("send_money"));
    }

    #[test]
    fn files_of_one_name_have_ids_of_their_own() {
        let (line, map) = (r#"{"suite":"s","function":"f","args":{}}"#, mapping(shipped::MAPPING).unwrap());
        let mut lines = Lines::default();
        lines.add("a/x.jsonl", &Bytes::from(line), &map);
        lines.add("a/x.jsonl", &Bytes::from(line), &map);
        let ids: BTreeSet<_> = lines.submissions.iter().map(|s| s.names.id.clone().unwrap()).collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
    }

    #[test]
    fn what_is_no_job_is_submitted_as_it_stands() {
        let refused = r#"{"suite":"s","function":"f","args":{},"more":1,"kind":"user"}"#;
        for line in ["{\"id\": \"a", "2026 WARN retrying", "[1,2]", refused] {
            let lines = lines(line);
            assert_eq!(value(&lines.submissions[0]), line);
            assert_eq!(lines.warnings.len(), usize::from(line == refused), "{:?}", lines.warnings);
        }
        assert!(lines(refused).warnings[0].contains("more"), "{:?}", lines(refused).warnings);
        assert_eq!(lines(refused).submissions[0].label.kind, Some(Kind::User), "it counts in the score");
    }
}
