//! Pieces of output as they are gathered: how much of them goes into a record.

use super::PARTIAL;

/// Bytes of a character in JSON text.
const fn encoded_char(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if (c as u32) < 0x20 => 6,
        c => c.len_utf8(),
    }
}

/// Bytes of a text in a record, where control characters take six each.
pub(super) fn encoded(text: &str) -> usize {
    text.chars().map(encoded_char).sum()
}

/// As much of the beginning as is sent at once.
pub(crate) fn head(text: &str) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += encoded_char(*c);
        bytes > PARTIAL.0
    });
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_json_text_and_a_head_is_within_them() {
        for text in ["plain", "\u{0}\u{1f}\"\\\n\r\t\u{8}\u{c}", "größe \u{1f600}\u{7f}", &"\u{1}".repeat(100_000)] {
            assert_eq!(encoded(text) + 2, serde_json::to_string(text).unwrap().len());
            assert!(encoded(head(text)) <= PARTIAL.0 && text.starts_with(head(text)));
        }
        assert_eq!(head(&"\u{1}".repeat(100_000)).len(), PARTIAL.0 / 6);
        assert_eq!(head("short"), "short");
    }
}
