//! Lines of bounded length from a stream.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads a stream line by line.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: BufReader<R>,
    limit: usize,
    begun: Vec<u8>,
    /// Bytes of a line that is passed over.
    passed: usize,
}

/// No line can be read any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLine {
    #[error("a line is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Of at most `limit` bytes each.
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from: BufReader::new(from), limit, begun: Vec::new(), passed: 0 }
    }

    /// Passes over the rest of a line that was too long, and shows all of it to `see`; `false` when it goes on for more than
    /// `most` bytes. Nothing is lost when this is dropped while it waits: the next call goes on.
    pub(super) async fn pass_over(&mut self, most: usize, mut see: impl FnMut(&[u8])) -> io::Result<bool> {
        see(&std::mem::take(&mut self.begun));
        loop {
            let chunk = self.from.fill_buf().await?;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            see(part);
            self.passed += part.len();
            let (used, over) = (part.len() + usize::from(end.is_some()), end.is_some() || chunk.is_empty());
            self.from.consume(used);
            if over || self.passed > most {
                self.passed = 0;
                return Ok(over);
            }
        }
    }

    /// The next line without its end; `None` when there is no more. A last line without an end counts. Nothing is lost when
    /// this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, NoLine> {
        loop {
            let chunk = self.from.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(Some(std::mem::take(&mut self.begun)).filter(|line| !line.is_empty()));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            if self.begun.len() + part.len() > self.limit {
                return Err(NoLine::TooLong { limit: self.limit });
            }
            self.begun.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
        let mut lines = Lines::new(&b"abc\n\nabcd\n"[..], 3);
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b"abc"[..]));
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b""[..]));
        assert!(matches!(lines.next().await, Err(NoLine::TooLong { limit: 3 })));
        let mut seen = Vec::new();
        assert!(lines.pass_over(9, |part| seen.extend_from_slice(part)).await.unwrap());
        assert_eq!((&seen[..], lines.next().await.unwrap()), (&b"abcd"[..], None));
        let mut lines = Lines::new(&b"0123456789"[..], 3);
        assert!(lines.next().await.is_err() && !lines.pass_over(5, |_| {}).await.unwrap());
        let mut lines = Lines::new(&b"a\nlast"[..], 9);
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b"a"[..]));
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b"last"[..]));
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
