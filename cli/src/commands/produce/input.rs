//! Cuts a stream into records at a delimiter, without copying what it reads.

use std::io::Read;

use memchr::memmem;

/// How much is asked of the stream at once. A pipe gives what it has, so that a slow writer's lines do not wait.
const READ_BYTES: usize = 256 * 1024;

/// A stream cut at a delimiter.
pub struct Lines<R> {
    stream: R,
    delimiter: memmem::Finder<'static>,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that were read and not handed out yet.
    from: usize,
    to: usize,
    /// Where to look for the next delimiter: what lies before was searched in vain.
    searched: usize,
    ended: bool,
    limit: usize,
    /// The piece at hand was too long, and what is left of it is passed over.
    skipping: bool,
}

/// Why no next record could be cut.
#[derive(Debug, PartialEq, Eq)]
pub enum InputError {
    /// No delimiter came within the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl<R: Read> Lines<R> {
    /// Cuts `stream` at `delimiter`, or takes it whole where that is empty; a piece longer than `limit` bytes is an error, so that a stream without
    /// delimiters does not fill the memory.
    pub fn new(stream: R, delimiter: &[u8], limit: usize) -> Self {
        Self {
            stream,
            delimiter: memmem::Finder::new(delimiter).into_owned(),
            buffer: vec![0; READ_BYTES],
            from: 0,
            to: 0,
            searched: 0,
            ended: false,
            limit,
            skipping: false,
        }
    }

    /// Whether the stream has no more than what was read.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next piece without its delimiter, of what was read. `None` asks for [`Lines::read_more`], or is the end. A
    /// last piece without a delimiter counts, unless it is empty. After a piece that is too long the rest of it is
    /// passed over.
    pub fn cut(&mut self) -> Result<Option<&[u8]>, InputError> {
        loop {
            let needle = self.delimiter.needle().len();
            // Without a delimiter the stream is one piece.
            let found = if needle == 0 { None } else { self.delimiter.find(&self.buffer[self.searched..self.to]) };
            let too_long = found.map_or(self.to, |at| self.searched + at) - self.from > self.limit && !self.skipping;
            if too_long {
                self.skipping = true;
                return Err(InputError::TooLong { limit: self.limit });
            }
            if let Some(at) = found {
                let (from, to) = (self.from, self.searched + at);
                self.from = to + needle;
                self.searched = self.from;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return Ok(Some(&self.buffer[from..to]));
            }
            // The delimiter may have begun at the end of what was read.
            self.searched = self.from.max((self.to + 1).saturating_sub(needle.max(1)));
            if self.skipping {
                self.from = self.searched;
            }
            if !self.ended {
                return Ok(None);
            }
            let (from, to) = (self.from, self.to);
            self.from = to;
            self.searched = to;
            return Ok((from < to && !self.skipping).then_some(&self.buffer[from..to]));
        }
    }

    /// Reads what the stream has, waiting for it; how many bytes came, 0 at the end.
    pub fn read_more(&mut self) -> std::io::Result<usize> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            self.searched -= self.from;
            self.to -= self.from;
            self.from = 0;
        }
        if self.to == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.to..]) {
                Ok(read) => {
                    self.ended |= read == 0;
                    self.to += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives its bytes in pieces of the given size.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1.min(self.0.len()).min(out.len());
            out[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn cut(text: &[u8], delimiter: &[u8], piece: usize) -> Vec<Vec<u8>> {
        cut_within(text, delimiter, piece, 1 << 20).into_iter().map(Result::unwrap).collect()
    }

    fn cut_within(text: &[u8], delimiter: &[u8], piece: usize, limit: usize) -> Vec<Result<Vec<u8>, InputError>> {
        let mut lines = Lines::new(Trickle(text, piece), delimiter, limit);
        let mut found = Vec::new();
        loop {
            match lines.cut().map(|line| line.map(<[u8]>::to_vec)) {
                Ok(Some(line)) => found.push(Ok(line)),
                Err(error) => found.push(Err(error)),
                Ok(None) if lines.is_ended() => break,
                Ok(None) => {
                    lines.read_more().unwrap();
                }
            }
        }
        assert!(lines.cut().unwrap().is_none(), "the end stays the end");
        found
    }

    #[test]
    fn every_way_of_arriving_cuts_alike() {
        for piece in 1..12 {
            assert_eq!(cut(b"a\nbb\n\nccc", b"\n", piece), [&b"a"[..], b"bb", b"", b"ccc"]);
            assert_eq!(cut(b"a\nbb\n", b"\n", piece), [&b"a"[..], b"bb"]);
            assert_eq!(cut(b"a||b|c||", b"||", piece), [&b"a"[..], b"b|c"]);
            assert_eq!(cut(b"ababac", b"abac", piece), [&b"ab"[..]]);
            assert_eq!(cut(b"", b"\n", piece), Vec::<Vec<u8>>::new());
            assert_eq!(cut(b"a\nb\n", b"", piece), [&b"a\nb\n"[..]]);
            assert_eq!(cut_within(b"far too long", b"", piece, 5), [Err(InputError::TooLong { limit: 5 })]);
        }
    }

    #[test]
    fn a_line_longer_than_a_read_is_whole() {
        let long = vec![b'x'; 3 * READ_BYTES + 17];
        let mut text = long.clone();
        text.extend(b"\nend");
        assert_eq!(cut(&text, b"\n", usize::MAX), [long, b"end".to_vec()]);
    }

    #[test]
    fn a_piece_that_is_too_long_is_refused_once_and_passed_over() {
        for piece in 1..12 {
            let found = cut_within(b"ok\nfar too long\nfine\n", b"\n", piece, 5);
            assert_eq!(found, [Ok(b"ok".to_vec()), Err(InputError::TooLong { limit: 5 }), Ok(b"fine".to_vec())]);
            assert_eq!(cut_within(b"far too long", b"\n", piece, 5), [Err(InputError::TooLong { limit: 5 })]);
            let found = cut_within(b"far too long||a", b"||", piece, 5);
            assert_eq!(found, [Err(InputError::TooLong { limit: 5 }), Ok(b"a".to_vec())]);
        }
    }

    #[test]
    fn a_stream_without_delimiters_does_not_fill_the_memory() {
        let mut lines = Lines::new(std::io::repeat(b'x'), b"\n", 1000);
        for _ in 0..20 {
            lines.read_more().unwrap();
            let _ = lines.cut();
        }
        assert!(lines.buffer.len() <= 2 * READ_BYTES, "{}", lines.buffer.len());
    }
}
