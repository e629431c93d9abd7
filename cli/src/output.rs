//! stdout: text for people, or one JSON document on its last line.

use std::io::Write;

use serde::Serialize;

/// Prints a document on one line.
pub(crate) fn json(document: &impl Serialize) {
    match serde_json::to_string(document) {
        Ok(text) => text_line(&text),
        Err(error) => eprintln!("error: the result has no JSON text: {error}"),
    }
}

/// Prints a line. A reader that has gone (`| head`) is no failure.
pub(crate) fn text_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints text as it is, without a line's end.
pub(crate) fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Rows under a head, columns as wide as they need.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "denied".into()], vec!["longer".into(), "ok".into()]];
        assert_eq!(table(&["id", "state"], &rows), "id      state\na       denied\nlonger  ok");
    }
}
