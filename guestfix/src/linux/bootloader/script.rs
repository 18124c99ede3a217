// SPDX-License-Identifier: Apache-2.0
//! GRUB's script language as far as words, quotes, comments and braces go (GRUB manual, "Writing
//! full configuration files directly"). Every word knows its place, so that one can be replaced
//! and all else survives.

use std::ops::Range;

use crate::error::{Error, Result};

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Quotes and backslashes resolved, `$variables` as written.
    pub text: String,
    /// Where it stands.
    pub at: Range<usize>,
}

/// What a script does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A command that ends with its line.
    Command(Vec<Word>),
    /// A command that opens a block: `menuentry 'x' {`.
    Open(Vec<Word>),
    /// The end of the innermost block.
    Close,
}

/// Words that stand before a command and are none.
const KEYWORDS: [&str; 10] = [
    "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "!",
];

/// Splits a script into steps.
///
/// # Errors
/// `Corrupt`/`grub-syntax` when a quote stays open or blocks do not match.
pub fn steps(bytes: &[u8]) -> Result<Vec<Step>> {
    let mut scanner = Scanner { bytes, at: 0 };
    let mut steps = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut depth = 0_usize;
    while let Some(token) = scanner.token()? {
        match token {
            Token::End => flush(&mut words, &mut steps),
            Token::Brace(b'{', _) => {
                steps.push(Step::Open(std::mem::take(&mut words)));
                depth = depth.saturating_add(1);
            }
            Token::Brace(_, at) => {
                flush(&mut words, &mut steps);
                steps.push(Step::Close);
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| syntax("a } without a {", at))?;
            }
            Token::Word(word) if words.is_empty() && KEYWORDS.contains(&word.text.as_str()) => {}
            Token::Word(word) => words.push(word),
        }
    }
    flush(&mut words, &mut steps);
    if depth > 0 {
        return Err(syntax("a { without a }", bytes.len()));
    }
    Ok(steps)
}

fn flush(words: &mut Vec<Word>, steps: &mut Vec<Step>) {
    if !words.is_empty() {
        steps.push(Step::Command(std::mem::take(words)));
    }
}

fn syntax(what: &str, at: usize) -> Error {
    Error::corrupt("grub-syntax", format!("the boot menu has {what}")).at(at as u64)
}

enum Token {
    Word(Word),
    Brace(u8, usize),
    End,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn token(&mut self) -> Result<Option<Token>> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.at = self.at.saturating_add(1),
                b'\n' | b';' => {
                    self.at = self.at.saturating_add(1);
                    return Ok(Some(Token::End));
                }
                b'\\'
                    if self
                        .bytes
                        .get(self.at..)
                        .is_some_and(|r| r.starts_with(b"\\\n")) =>
                {
                    self.at = self.at.saturating_add(2);
                }
                b'#' => {
                    while self.peek().is_some_and(|b| b != b'\n') {
                        self.at = self.at.saturating_add(1);
                    }
                }
                _ => return self.word().map(Some),
            }
        }
        Ok(None)
    }

    fn word(&mut self) -> Result<Token> {
        let start = self.at;
        let mut text = Vec::new();
        while let Some(byte) = self.peek() {
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';') {
                break;
            }
            self.at = self.at.saturating_add(1);
            match byte {
                b'\\' => match self.next() {
                    Some(b'\n') | None => {}
                    Some(next) => text.push(next),
                },
                b'\'' | b'"' => self.quoted(byte, start, &mut text)?,
                _ => text.push(byte),
            }
        }
        match self.bytes.get(start..self.at) {
            Some([brace @ (b'{' | b'}')]) => Ok(Token::Brace(*brace, start)),
            _ => Ok(Token::Word(Word {
                text: String::from_utf8_lossy(&text).into_owned(),
                at: start..self.at,
            })),
        }
    }

    fn quoted(&mut self, quote: u8, start: usize, text: &mut Vec<u8>) -> Result<()> {
        while let Some(byte) = self.next() {
            match byte {
                _ if byte == quote => return Ok(()),
                b'\\' if quote == b'"' => match self.next() {
                    Some(next @ (b'"' | b'\\' | b'$')) => text.push(next),
                    Some(b'\n') | None => {}
                    Some(next) => text.extend([b'\\', next]),
                },
                _ => text.push(byte),
            }
        }
        Err(syntax("a quote that is never closed", start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        steps(script.as_bytes())
            .unwrap()
            .into_iter()
            .map(|step| match step {
                Step::Command(words) => join(&words),
                Step::Open(words) => format!("{} {{", join(&words)),
                Step::Close => "}".to_owned(),
            })
            .collect()
    }

    fn join(words: &[Word]) -> String {
        let words: Vec<_> = words.iter().map(|w| w.text.as_str()).collect();
        words.join("|")
    }

    #[test]
    fn commands_blocks_quotes_and_comments_are_told_apart() {
        assert_eq!(
            texts(
                "if [ x$a = xy ]; then set b=\"c d\"; fi # no {\nmenuentry 'A {' --id x {\n\tlinux /v \\\n root=${r} # } \r\n}\n"
            ),
            [
                "[|x$a|=|xy|]",
                "set|b=c d",
                "menuentry|A {|--id|x {",
                "linux|/v|root=${r}",
                "}"
            ]
        );
    }

    #[test]
    fn what_does_not_match_is_an_error_with_its_place() {
        for (script, at) in [("a 'b", 2), ("}", 0), ("menuentry x {\n", 14)] {
            let error = steps(script.as_bytes()).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.offset),
                ("grub-syntax", Some(at)),
                "{script}"
            );
        }
    }
}
