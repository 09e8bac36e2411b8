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
}

/// Why no next record could be cut.
#[derive(Debug)]
pub enum InputError {
    /// The stream cannot be read.
    Io(std::io::Error),
    /// No delimiter came within the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl<R: Read> Lines<R> {
    /// Cuts `stream` at `delimiter`; a piece longer than `limit` bytes is an error, so that a stream without
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
        }
    }

    /// The next piece without its delimiter, or `None` at the end. A last piece without a delimiter counts, unless it
    /// is empty.
    pub fn next(&mut self) -> Result<Option<&[u8]>, InputError> {
        loop {
            if let Some(at) = self.delimiter.find(&self.buffer[self.searched..self.to]) {
                let (from, to) = (self.from, self.searched + at);
                if to - from > self.limit {
                    return Err(InputError::TooLong { limit: self.limit });
                }
                self.from = to + self.delimiter.needle().len();
                self.searched = self.from;
                return Ok(Some(&self.buffer[from..to]));
            }
            if self.to - self.from > self.limit {
                return Err(InputError::TooLong { limit: self.limit });
            }
            if self.ended {
                let (from, to) = (self.from, self.to);
                self.from = to;
                self.searched = to;
                return Ok((from < to).then_some(&self.buffer[from..to]));
            }
            self.read_more().map_err(InputError::Io)?;
        }
    }

    fn read_more(&mut self) -> std::io::Result<()> {
        // The delimiter may have begun at the end of what was read.
        self.searched = self.from.max((self.to + 1).saturating_sub(self.delimiter.needle().len()));
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
                Ok(0) => self.ended = true,
                Ok(read) => self.to += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
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
        let mut lines = Lines::new(Trickle(text, piece), delimiter, 1 << 20);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.to_vec());
        }
        assert!(lines.next().unwrap().is_none(), "the end stays the end");
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
    fn a_stream_without_delimiters_is_refused_at_the_limit() {
        let text = vec![b'x'; 2000];
        let mut lines = Lines::new(Trickle(&text, 300), b"\n", 1000);
        assert!(matches!(lines.next(), Err(InputError::TooLong { limit: 1000 })));
    }
}
