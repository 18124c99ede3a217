// SPDX-License-Identifier: Apache-2.0
//! From the bytes of a terminal to lines of text, however the bytes are split across reads.

use std::collections::VecDeque;

/// Longest line kept, bytes; a longer one is broken, so that a guest cannot fill our memory.
const LONGEST_LINE: usize = 2048;

/// Lines kept for the report.
const TAIL: usize = 40;

/// Text kept for a reader that may come later, bytes.
const UNREAD: usize = 1 << 20;

/// What a byte added to the console.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line ended.
    Line(&'a str),
    /// The line that is being written, at a byte that may end a prompt (`:`, `>`, `)`).
    Prompt(&'a str),
}

/// Where the byte stream stands within an escape sequence (ECMA-48).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [`: parameters up to a final byte.
    Control,
    /// `ESC ]`, `ESC P`, ...: up to BEL or `ESC \`.
    String,
    /// `ESC (`, `ESC #`, ...: one more byte.
    OneMore,
}

/// Takes bytes, gives lines without escape sequences.
#[derive(Debug, Default)]
pub struct Console {
    state: State,
    line: Vec<u8>,
    tail: VecDeque<String>,
    unread: Vec<u8>,
}

impl Console {
    /// An empty console.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds bytes; `see` gets each piece in order. Pieces do not depend on how the stream is cut
    /// into calls.
    pub fn feed(&mut self, bytes: &[u8], mut see: impl FnMut(Piece<'_>)) {
        for &byte in bytes {
            self.byte(byte, &mut see);
        }
    }

    /// The last lines, oldest first, with the unfinished one.
    pub fn tail(&self) -> Vec<String> {
        let mut tail: Vec<String> = self.tail.iter().cloned().collect();
        let last = text(&self.line);
        if !last.trim().is_empty() {
            tail.push(last);
        }
        tail.split_off(tail.len().saturating_sub(TAIL))
    }

    /// The text that has not been taken yet, without escape sequences; line ends are `\n`.
    pub(super) fn unread(&self) -> String {
        text(&self.unread)
    }

    /// Takes everything up to and with the first `len` bytes of [`Console::unread`].
    pub(super) fn take(&mut self, text: &str, len: usize) {
        // Replacement characters make the text longer than the bytes: keep the rest's bytes.
        let rest = text.get(len..).unwrap_or_default();
        self.unread = rest.as_bytes().to_vec();
    }

    fn byte(&mut self, byte: u8, see: &mut impl FnMut(Piece<'_>)) {
        self.state = match (self.state, byte) {
            (State::String, 0x07) => State::Text,
            (_, 0x1b) => State::Escape,
            (State::Text, _) => {
                self.text_byte(byte, see);
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape, 0x20..=0x2f) => State::OneMore,
            (State::Escape | State::OneMore, _) => State::Text,
            (State::Control, 0x40..=0x7e) => {
                // A program that places its text (a boot menu, firmware) starts a new one here.
                if matches!(byte, b'H' | b'f' | b'J') {
                    self.end_line(see);
                }
                State::Text
            }
            (State::Control, b'\n' | b'\r') => {
                self.end_line(see);
                State::Text
            }
            (state @ (State::Control | State::String), _) => state,
        };
    }

    fn text_byte(&mut self, byte: u8, see: &mut impl FnMut(Piece<'_>)) {
        match byte {
            b'\n' | b'\r' => self.end_line(see),
            0x08 => {
                self.line.pop();
            }
            b'\t' => {
                self.line.push(b' ');
                self.keep(b' ');
            }
            0..0x20 | 0x7f => {}
            _ => {
                self.line.push(byte);
                self.keep(byte);
                if matches!(byte, b':' | b'>' | b')') {
                    see(Piece::Prompt(&text(&self.line)));
                }
            }
        }
        if self.line.len() >= LONGEST_LINE {
            self.end_line(see);
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.unread.len() >= UNREAD {
            self.unread.drain(..UNREAD / 2);
        }
        self.unread.push(byte);
    }

    fn end_line(&mut self, see: &mut impl FnMut(Piece<'_>)) {
        let line = text(&std::mem::take(&mut self.line));
        if self.unread.last().is_some_and(|&last| last != b'\n') {
            self.keep(b'\n');
        }
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        see(Piece::Line(line));
        self.tail.push_back(line.to_owned());
        if self.tail.len() > TAIL {
            self.tail.pop_front();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut console = Console::new();
        let mut all = Vec::new();
        for chunk in chunks {
            console.feed(chunk, |piece| {
                if let Piece::Line(line) = piece {
                    all.push(line.to_owned());
                }
            });
        }
        all
    }

    #[test]
    fn escape_sequences_are_not_text() {
        assert_eq!(
            lines(&[
                b"[\x1b[0;32m  OK  \x1b[0m] Reached \x1b]0;title\x07target.\r\n\x1b(B\x1b[mx\n"
            ]),
            ["[  OK  ] Reached target.", "x"]
        );
    }

    #[test]
    fn a_reader_gets_the_same_text_as_the_lines() {
        let mut console = Console::new();
        console.feed(b"\x1b[1menp1s0\tlo\r\n# ", |_| {});
        assert_eq!(console.unread(), "enp1s0 lo\n# ");
        let text = console.unread();
        console.take(&text, "enp1s0 lo\n".len());
        assert_eq!(console.unread(), "# ");
    }

    #[test]
    fn a_carriage_return_loses_nothing() {
        assert_eq!(lines(&[b"old\rnew\r\r\n\nlast\n"]), ["old", "new", "last"]);
    }

    #[test]
    fn placed_text_is_not_glued_together() {
        assert_eq!(
            lines(&[b"\x1b[2J\x1b[1;1Hone\x1b[2;1Htwo\x1b[H"]),
            ["one", "two"]
        );
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let mut console = Console::new();
        console.feed(&vec![b'a'; 10 * LONGEST_LINE], |_| {});
        assert!(console.line.len() < LONGEST_LINE);
        assert!(console.tail().len() <= TAIL);
    }

    #[test]
    fn the_tail_ends_with_the_unfinished_line() {
        let mut console = Console::new();
        for n in 0..100 {
            console.feed(format!("line {n}\n").as_bytes(), |_| {});
        }
        console.feed(b"debian login: ", |_| {});
        let tail = console.tail();
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail.last().map(String::as_str), Some("debian login: "));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_give_the_same_pieces(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'\r'), Just(b'\n')], 0..400),
            cut in 1_usize..17,
        ) {
            let all = |chunks: std::slice::Chunks<'_, u8>| {
                let (mut console, mut seen) = (Console::new(), Vec::new());
                for chunk in chunks {
                    console.feed(chunk, |piece| seen.push(format!("{piece:?}")));
                }
                (seen, console.tail())
            };
            prop_assert_eq!(all(bytes.chunks(cut)), all(bytes.chunks(bytes.len().max(1))));
        }
    }
}
