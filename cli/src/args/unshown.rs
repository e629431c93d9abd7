//! Arguments that may hold what is secret (an address with a password, a command with a token): when one is wrong, what was typed
//! is not repeated. It would stand in the logs of whatever started this program.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Reads a `T`; its error says what is wrong, and is trusted to show nothing secret.
pub(crate) struct Unshown<T>(PhantomData<fn() -> T>);

pub(crate) fn unshown<T>() -> Unshown<T> {
    Unshown(PhantomData)
}

impl<T> Clone for Unshown<T> {
    fn clone(&self) -> Self {
        unshown()
    }
}

impl<T> TypedValueParser for Unshown<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let of = argument.map(ToString::to_string).unwrap_or_default();
        let wrong = |why: &dyn Display| {
            Error::raw(ErrorKind::ValueValidation, format!("invalid value for '{of}': {why}\n")).with_cmd(command)
        };
        let text = value.to_str().ok_or_else(|| wrong(&"it is no UTF-8"))?;
        text.parse().map_err(|error: T::Err| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn what_is_wrong_is_told_without_what_was_typed() {
        for line in [
            "tidegate dev --worker http://user:secret@h/run",
            "tidegate dev --worker hook=http://user:secret@h/run",
            "tidegate dev --mcp x=http://user:secret@h/run",
            "tidegate worker --capability c --http http://user:secret@h/",
            "tidegate worker --mcp-http ftp://h/?key=secret",
        ] {
            let told = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(!told.contains("secret") && told.contains("invalid value for '--"), "{told}");
        }
    }
}
