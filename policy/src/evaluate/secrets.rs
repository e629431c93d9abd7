//! Whether a payload holds what looks like a secret.
//!
//! Looks for the fixed shapes that issuers give their credentials so that scanners can find them, in every text and
//! key of the payload as a parser unescapes them. It is a net with holes, not a proof: a secret of no such shape, encoded
//! or cut in pieces is not seen. One pass; each place is compared with few shapes, each of bounded length.

use super::derive::Outcome;
use simd_json::Node;

/// A fixed beginning, and at least so many characters of a class behind it.
struct Shape {
    start: &'static str,
    least: usize,
    class: fn(u8) -> bool,
}

const fn shape(start: &'static str, least: usize, class: fn(u8) -> bool) -> Shape {
    Shape { start, least, class }
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

/// Base64url and what is used like it.
fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// By the formats issuers document.
const SHAPES: &[Shape] = &[
    shape("AKIA", 16, upper),
    shape("ASIA", 16, upper),
    shape("AIza", 35, token),
    shape("ghp_", 36, alphanumeric),
    shape("gho_", 36, alphanumeric),
    shape("ghu_", 36, alphanumeric),
    shape("ghs_", 36, alphanumeric),
    shape("ghr_", 36, alphanumeric),
    shape("github_pat_", 22, token),
    shape("glpat-", 20, token),
    shape("npm_", 36, alphanumeric),
    shape("xoxb-", 10, token),
    shape("xoxp-", 10, token),
    shape("xoxa-", 10, token),
    shape("xoxr-", 10, token),
    shape("xoxs-", 10, token),
    shape("sk_live_", 16, alphanumeric),
    shape("rk_live_", 16, alphanumeric),
    shape("sk-ant-", 20, token),
    shape("sk-proj-", 20, token),
    shape("sk-", 32, alphanumeric),
    shape("hf_", 30, alphanumeric),
    shape("dop_v1_", 64, alphanumeric),
];

/// Names of keys around them in the text form of private keys.
const PEM: &str = "-----BEGIN ";
const PEM_END: &str = "PRIVATE KEY";
/// How far behind [`PEM`] its kind may go.
const PEM_KIND: usize = 32;
/// Two parts of a signed token, each a JSON object in base64url.
const JWT: &str = "eyJ";
/// Longest part of a signed token that is looked through.
const JWT_PART: usize = 4_096;

/// No tape means the payload could not be read.
pub(super) fn look(tape: Option<&[Node<'_>]>) -> Outcome {
    let Some(tape) = tape else { return Outcome::Uncertain };
    let secret = tape.iter().any(|node| match node {
        Node::String(text) => is_secret(text),
        Node::Object { .. } | Node::Array { .. } | Node::Static(_) => false,
    });
    if secret { Outcome::Present } else { Outcome::Absent }
}

fn is_secret(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Before this place no signed token begins: it was looked through.
    let mut looked_through = 0;
    for at in 0..bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        // A shape inside a longer word is a part of that word.
        let begins = at == 0 || !bytes.get(at - 1).copied().is_some_and(alphanumeric);
        if begins && SHAPES.iter().any(|shape| fits(shape, rest)) || is_private_key(rest) {
            return true;
        }
        if begins && at >= looked_through && rest.starts_with(JWT.as_bytes()) {
            match signed_token(rest) {
                Ok(()) => return true,
                Err(length) => looked_through = at + length,
            }
        }
    }
    false
}

fn fits(shape: &Shape, rest: &[u8]) -> bool {
    rest.strip_prefix(shape.start.as_bytes())
        .and_then(|behind| behind.get(..shape.least))
        .is_some_and(|behind| behind.iter().all(|&byte| (shape.class)(byte)))
}

fn is_private_key(rest: &[u8]) -> bool {
    rest.strip_prefix(PEM.as_bytes()).is_some_and(|behind| {
        let kind = behind.get(..PEM_KIND.min(behind.len())).unwrap_or_default();
        kind.windows(PEM_END.len()).any(|window| window == PEM_END.as_bytes())
    })
}

/// `eyJ….eyJ….…`; otherwise how long its first part is.
fn signed_token(rest: &[u8]) -> Result<(), usize> {
    let part = |from: usize| {
        let part = rest.get(from..).unwrap_or_default();
        part.iter().take(JWT_PART).take_while(|&&byte| token(byte)).count()
    };
    let header = part(0);
    let claims_at = header + 1;
    let dotted = |at: usize| rest.get(at) == Some(&b'.');
    let begins = rest.get(claims_at..).is_some_and(|claims| claims.starts_with(JWT.as_bytes()));
    if header >= 10 && dotted(header) && begins {
        let claims = part(claims_at);
        if claims >= 10 && dotted(claims_at + claims) && part(claims_at + claims + 1) >= 10 {
            return Ok(());
        }
    }
    Err(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_shapes_are_seen_and_ordinary_text_is_not() {
        let key = "A1".repeat(32);
        let seen = [
            format!("AKIA{}", "A1".repeat(8)),
            format!("use ghp_{} please", &key[..36]),
            format!("token=glpat-{}", &key[..20]),
            format!("sk-ant-api03-{key}"),
            format!("(xoxb-{})", &key[..12]),
            "-----BEGIN RSA PRIVATE KEY-----\nMII".to_owned(),
            "-----BEGIN PRIVATE KEY-----".to_owned(),
            format!("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{}", &key[..20]),
        ];
        for text in &seen {
            assert!(is_secret(text), "{text}");
        }
        let plain = [
            "".to_owned(),
            "AKIA".to_owned(),
            "the sk-learn package".to_owned(),
            format!("MAKIA{}", "A1".repeat(8)),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
            "eyJ.eyJ.x".to_owned(),
            "ghp_short".to_owned(),
        ];
        for text in &plain {
            assert!(!is_secret(text), "{text}");
        }
    }

    #[test]
    fn the_cost_is_linear() {
        // Each start of a token would look through all the rest, were it not skipped.
        let text = "eyJ".repeat(400_000);
        assert!(!is_secret(&text) && !is_secret(&"sk-".repeat(400_000)) && !is_secret(&"-----BEGIN ".repeat(100_000)));
    }
}
