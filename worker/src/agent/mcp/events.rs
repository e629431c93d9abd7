//! Server-sent events: the data of each, from bytes as they come.

/// Takes an event stream apart.
#[derive(Debug)]
pub(super) struct Events {
    limit: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    /// The last byte was a carriage return: a line feed behind it belongs to it.
    returned: bool,
}

/// An event is larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Of at most `limit` bytes each.
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), data: Vec::new(), returned: false }
    }

    /// The events that `bytes` complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let follows = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > self.limit {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let mut data = std::mem::take(&mut self.data);
            // Every data line left a line feed behind it; the last is none of the data.
            return data.pop().map(|_| data);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.data.push(b'\n');
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_joined_over_lines_chunks_and_every_kind_of_line_end() {
        let text = b": hello\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nid: 7\rdata: 2\r\rdata: lost";
        for size in [1, 3, 1_000] {
            let mut events = Events::new(100);
            let found: Vec<Vec<u8>> = text.chunks(size).flat_map(|chunk| events.feed(chunk).unwrap()).collect();
            assert_eq!(found, [b"{\"a\":\n1}".to_vec(), b"2".to_vec()], "{size}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_refused() {
        assert_eq!(Events::new(10).feed(b"data: 0123456789"), Err(TooLong));
        assert_eq!(Events::new(10).feed(b"data: 1\ndata: 2\ndata: 3\ndata: 4\ndata: 5\ndata: 6"), Err(TooLong));
    }
}
