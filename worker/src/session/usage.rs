//! What a job used, as its output says: a member `usage` with numbers `tokens` and `money`, beside whatever else it holds.

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use tidegate_protocol::limits::{Amount, Usage};

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Reported {
    #[serde(default)]
    tokens: Option<Number>,
    #[serde(default)]
    money: Option<Number>,
}

/// What is no amount is as if it were not there: then what was reserved counts.
pub(crate) fn of_output(output: Option<&RawValue>) -> Usage {
    let Some(text) = output.map(RawValue::get).filter(|text| text.starts_with('{') && text.contains("\"usage\""))
    else {
        return Usage::default();
    };
    let Ok(Output { usage: Some(reported) }) = serde_json::from_str(text) else { return Usage::default() };
    let amount = |number: Option<Number>| number.and_then(|number| number.to_string().parse::<Amount>().ok());
    Usage { tokens: amount(reported.tokens), money: amount(reported.money) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_usage_member_count_and_nothing_else_does() {
        let of = |text: &str| of_output(Some(&RawValue::from_string(text.to_owned()).unwrap()));
        assert_eq!(
            of(r#"{"answer":"x","usage":{"tokens":812,"money":1.25}}"#).to_owned(),
            Usage { tokens: Amount::units(812), money: Some(Amount(1_250_000)) }
        );
        for text in
            [r#""usage""#, "{}", r#"{"usage":null}"#, r#"{"usage":{"tokens":-1}}"#, r#"{"usage":{"tokens":"9"}}"#]
        {
            assert_eq!(of(text), Usage::default(), "{text}");
        }
    }
}
