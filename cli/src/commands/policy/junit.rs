//! Results of cases as JUnit XML, which every CI system shows.

use tidegate_policy::CaseResult;

/// A test suite a file, in the files' order.
pub(super) fn xml(results: &[CaseResult]) -> String {
    let mut files: Vec<&str> = results.iter().map(|result| result.file.as_str()).collect();
    files.dedup();
    let failures = |of: &[&CaseResult]| of.iter().filter(|result| result.failure.is_some()).count();
    let all: Vec<&CaseResult> = results.iter().collect();
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    text.push_str(&format!("<testsuites tests=\"{}\" failures=\"{}\">\n", all.len(), failures(&all)));
    for file in files {
        let cases: Vec<&CaseResult> = results.iter().filter(|result| result.file == file).collect();
        let name = escaped(file);
        text.push_str(&format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">\n",
            cases.len(),
            failures(&cases)
        ));
        for case in cases {
            let head = format!(
                "    <testcase classname=\"{name}\" name=\"{}\" file=\"{name}\" line=\"{}\"",
                escaped(&case.name),
                case.line
            );
            match &case.failure {
                None => text.push_str(&format!("{head}/>\n")),
                Some(failure) => text.push_str(&format!(
                    "{head}>\n      <failure message=\"{}\"/>\n    </testcase>\n",
                    escaped(failure)
                )),
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text as an attribute's value; what XML cannot say at all becomes `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_case_is_called_the_document_stays_xml() {
        assert_eq!(escaped("a<b> & \"c\"\n\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;&#10;?");
    }
}
