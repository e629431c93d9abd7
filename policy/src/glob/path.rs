//! Matching as paths are matched: `*` any run of characters but `/`, `?` one of them.

/// Goes back only to the last star, so the cost is at most the product of the lengths.
pub(super) fn matches(glob: &str, topic: &str) -> bool {
    let (glob, topic) = (glob.as_bytes(), topic.as_bytes());
    let (mut at, mut on) = (0, 0);
    // Where to go on after the last star: behind it, and with it standing for one byte more.
    let mut again: Option<(usize, usize)> = None;
    loop {
        match (glob.get(at), topic.get(on)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                again = Some((at + 1, on));
                at += 1;
                continue;
            }
            (Some(b'?'), Some(&byte)) if byte != b'/' => {
                at += 1;
                // A whole character, however many bytes it has.
                on += 1;
                while topic.get(on).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    on += 1;
                }
                continue;
            }
            (Some(want), Some(have)) if want == have && *want != b'?' => {
                (at, on) = (at + 1, on + 1);
                continue;
            }
            _ => {}
        }
        match again {
            Some((behind, taken)) if topic.get(taken).is_some_and(|byte| *byte != b'/') => {
                (at, on) = (behind, taken + 1);
                again = Some((behind, taken + 1));
            }
            Some(_) | None => return false,
        }
    }
}
