//! Why a set of policy files was refused: every problem found, not only the first.

use std::fmt;

/// One thing that is wrong in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1; `None` when the problem is about the file or the set as a whole.
    pub line: Option<u32>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(
        file: &str,
        line: impl Into<Option<u32>>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { file: file.to_owned(), line: line.into(), reason: reason.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: ", self.file)?,
            None => write!(f, "{}: ", self.file)?,
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

/// The whole set is refused: nothing of it may be used, and whatever snapshot was in force stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was found, by file and line. Never empty.
    pub problems: Vec<Problem>,
}

impl Refused {
    /// Orders the problems as a person reads files.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Self { problems }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy refused, {} problem", self.problems.len())?;
        if self.problems.len() != 1 {
            f.write_str("s")?;
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
