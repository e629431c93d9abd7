//! Times as policies write them: `500ms`, `30s`, `5m`, `4h`, `2d`.

use super::fields::{Reader, excerpt};
use super::yaml::{Node, Value};

/// The longest: 400 days.
const MOST_MS: u64 = 400 * 86_400_000;

/// Milliseconds, from 1 to those of 400 days.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<u64> {
    let text = match &node.value {
        Value::Text(text) => text.as_str(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => "",
    };
    let found = parse(text).filter(|ms| (1..=MOST_MS).contains(ms));
    if found.is_none() {
        let got = if text.is_empty() { node.value.kind().to_owned() } else { format!("`{}`", excerpt(text)) };
        reader.wrong(
            node.line,
            format!("{what} must be a time up to 400 days, not {got}"),
            "write a whole number and its unit: `500ms`, `30s`, `5m`, `4h` or `2d`",
        );
    }
    found
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_a_whole_number_with_its_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("4h", 14_400_000), ("2d", 172_800_000)] {
            assert_eq!(super::parse(text), Some(ms));
        }
        for text in ["", "5", "s", "-5s", "1.5h", "5 s", "5w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(super::parse(text), None, "{text}");
        }
    }
}
