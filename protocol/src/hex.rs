//! Bytes as hex digits, as every record has them: written in lower case, read in either.
//!
//! A ticket alone is some eight hundred digits, written once and read twice a job. The `hex` crate goes digit by digit
//! through iterators of `char`: a tenth of a kernel's time at the highest rate.

/// Text that is not the hex digits that were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not hex digits, or not so many as expected")]
pub struct NotHex;

/// What a byte that is no digit stands for in [`VALUES`]: more than any digit.
const NO_DIGIT: u8 = 0xff;

/// The value of each digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    #[expect(clippy::indexing_slicing, reason = "computed by the compiler, which would refuse it")]
    while value < 16 {
        let digit = digit(value);
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

const fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// The two digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    #[expect(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "computed by the compiler, which would refuse it"
    )]
    while byte < 256 {
        digits[byte] = [digit(byte as u8 >> 4), digit(byte as u8 & 15)];
        byte += 1;
    }
    digits
};

/// Two digits a byte.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let mut text = vec![0; bytes.len() * 2];
    write(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Serializes a value of few bytes as hex text, which takes no memory of its own. `M` is twice `N`.
pub(crate) fn serialize<const N: usize, const M: usize, S: serde::Serializer>(
    bytes: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    const { assert!(M == 2 * N, "two digits a byte") };
    let mut text = [0; M];
    write(bytes, &mut text);
    to.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn write(bytes: &[u8], text: &mut [u8]) {
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = DIGITS.get(usize::from(*byte)).copied().unwrap_or_default();
    }
}

/// Deserializes exactly so many bytes from hex text, straight from where it stands.
pub(crate) fn deserialize<'de, const N: usize, D: serde::Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
    crate::text::deserialize(from, |text| {
        let mut bytes = [0; N];
        decode_to_slice(text, &mut bytes).map(|()| bytes)
    })
}

/// Reads exactly as many digits as `bytes` needs.
///
/// # Errors
/// [`NotHex`]; `bytes` is then worth nothing.
pub fn decode_to_slice(text: impl AsRef<[u8]>, bytes: &mut [u8]) -> Result<(), NotHex> {
    let (pairs, left) = text.as_ref().as_chunks::<2>();
    if !left.is_empty() || pairs.len() != bytes.len() {
        return Err(NotHex);
    }
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let value = |digit: &u8| VALUES.get(usize::from(*digit)).copied().unwrap_or(NO_DIGIT);
        let (high, low) = (value(high), value(low));
        seen |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    if seen < 16 { Ok(()) } else { Err(NotHex) }
}

/// Reads digits, two a byte.
///
/// # Errors
/// [`NotHex`].
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, NotHex> {
    let text = text.as_ref();
    let mut bytes = vec![0; text.len() / 2];
    decode_to_slice(text, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_it_was_written_in_either_case() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert_eq!((text.len(), &text[..6], &text[508..]), (512, "000102", "feff"));
        assert_eq!(decode(&text), Ok(all.clone()));
        assert_eq!(decode(text.to_uppercase()), Ok(all));
        assert_eq!((encode([]), decode("")), (String::new(), Ok(Vec::new())));
    }

    #[test]
    fn only_digits_are_digits_and_only_the_right_number_of_them() {
        for byte in 0..=255_u8 {
            for text in [[byte, b'0'], [b'0', byte]] {
                assert_eq!(decode(text).is_ok(), byte.is_ascii_hexdigit(), "{byte}");
            }
        }
        for text in ["0", "000", "0x00", "00 "] {
            assert_eq!(decode(text), Err(NotHex), "{text}");
        }
        let mut bytes = [0; 2];
        assert_eq!(decode_to_slice("00", &mut bytes), Err(NotHex));
        assert_eq!(decode_to_slice("000000", &mut bytes), Err(NotHex));
        assert_eq!((decode_to_slice("12aB", &mut bytes), bytes), (Ok(()), [0x12, 0xab]));
    }
}
