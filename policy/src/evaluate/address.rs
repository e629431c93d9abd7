//! What counts as one plain e-mail address.

/// Splits `local@domain`. Anything that a mail system could read as more than one address, or route elsewhere
/// (lists, display names, quotes, comments, `%` and `!` routes), is not plain.
pub(crate) fn plain_address(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.split_once('@')?;
    let strange = |c: char| c.is_whitespace() || c.is_control() || "@,;:<>()[]\"\\%!".contains(c);
    let sound = !local.is_empty() && !domain.is_empty() && !local.contains(strange) && !domain.contains(strange);
    sound.then_some((local, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_address_without_tricks_is_plain() {
        assert_eq!(plain_address("a.b+c@x.example"), Some(("a.b+c", "x.example")));
        for text in [
            "",
            "a",
            "@x.example",
            "a@",
            "a@b@x.example",
            "evil@y.example,a@x.example",
            "evil@y.example a@x.example",
            "<evil@y.example>@x.example",
            "evil%y.example@x.example",
            "y.example!evil@x.example",
            "\"evil\"@x.example",
            "a@x.example\n",
        ] {
            assert_eq!(plain_address(text), None, "{text}");
        }
    }
}
