//! Numbers as decimal digits, for the few texts that every job has several of (stamps, source positions): the machinery of
//! `format!` takes longer than the SHA-256 of a short message.

/// Appends `number`.
pub(crate) fn push(text: &mut String, number: u64) {
    text.push_str(digits(number, &mut [b'0'; 20]));
}

/// The digits of `number`, which stand in `digits`.
pub(crate) fn digits(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        from -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(from..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [0, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            let mut text = "n".to_owned();
            super::push(&mut text, number);
            assert_eq!(text, format!("n{number}"));
        }
    }
}
