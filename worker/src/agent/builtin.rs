//! Handlers for tests, demos and load: `noop`, `echo`, `sleep:MS`.

use std::str::FromStr;
use std::time::Duration;

use crate::{Context, Ending, Handler};

/// Longest sleep, milliseconds (a day).
const LONGEST: u64 = 86_400_000;

/// A builtin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// Succeeds at once, without output.
    Noop,
    /// Succeeds at once and gives the payload back.
    Echo,
    /// Succeeds after this long, without output; stops when told to.
    Sleep(Duration),
}

/// Text that names no builtin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no builtin: {rule}; write `noop`, `echo`, or `sleep:` and milliseconds up to {LONGEST}, e.g. `sleep:50`"
)]
pub struct UnknownBuiltin {
    /// As written (cut at 80 characters).
    pub text: String,
    /// What is wrong with it.
    pub rule: &'static str,
}

impl FromStr for Builtin {
    type Err = UnknownBuiltin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |rule| UnknownBuiltin { text: text.chars().take(80).collect(), rule };
        match text.split_once(':') {
            None if text == "noop" => Ok(Self::Noop),
            None if text == "echo" => Ok(Self::Echo),
            None if text == "sleep" => Err(error("it does not say how long")),
            Some(("sleep", ms)) => match ms.parse::<u64>() {
                Ok(ms) if ms <= LONGEST => Ok(Self::Sleep(Duration::from_millis(ms))),
                Ok(_) => Err(error("that is longer than a day")),
                Err(_) => Err(error("what follows `sleep:` is not a whole number")),
            },
            Some(("noop" | "echo", _)) => Err(error("it takes no parameter")),
            None | Some(_) => Err(error("the name is not known")),
        }
    }
}

impl Handler for Builtin {
    async fn run(&self, context: Context) -> Ending {
        match self {
            Self::Noop => Ending::Succeeded(None),
            Self::Echo => Ending::Succeeded(Some(context.payload().to_owned())),
            Self::Sleep(long) => tokio::select! {
                () = tokio::time::sleep(*long) => Ending::Succeeded(None),
                why = context.cancelled() => Ending::cancelled(why.sentence()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtins_are_read_from_text() {
        assert_eq!("noop".parse(), Ok(Builtin::Noop));
        assert_eq!("echo".parse(), Ok(Builtin::Echo));
        assert_eq!("sleep:0".parse(), Ok(Builtin::Sleep(Duration::ZERO)));
        assert_eq!("sleep:250".parse(), Ok(Builtin::Sleep(Duration::from_millis(250))));
    }

    #[test]
    fn what_is_no_builtin_is_refused_with_the_rule_it_breaks() {
        for (text, rule) in [
            ("", "not known"),
            ("Noop", "not known"),
            ("sleep", "how long"),
            ("sleep:", "whole number"),
            ("sleep:-1", "whole number"),
            ("sleep:1s", "whole number"),
            ("sleep:86400001", "longer than a day"),
            ("echo:x", "no parameter"),
            ("exec:rm", "not known"),
        ] {
            let error = text.parse::<Builtin>().unwrap_err();
            assert!(error.rule.contains(rule), "{text}: {error}");
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
