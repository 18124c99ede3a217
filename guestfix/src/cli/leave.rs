// SPDX-License-Identifier: Apache-2.0
//! Leave to write to the disks, given by whoever started the program.

use std::io::BufRead;

use crate::error::{Error, Kind, Result};

/// Waits for the line `go` on stdin.
///
/// # Errors
/// `Cancelled`/`no-leave` for any other line and for the end of the input.
pub(super) fn from_stdin() -> Result<()> {
    answer(&mut std::io::stdin().lock())
}

fn answer(input: &mut dyn BufRead) -> Result<()> {
    let mut line = String::new();
    // A starter that was killed leaves a closed pipe: that is no leave.
    let read = input.read_line(&mut line);
    if read.is_ok() && line == "go\n" {
        return Ok(());
    }
    Err(Error::new(
        Kind::Cancelled,
        "no-leave",
        "no leave was given to write to the disks: nothing was written",
    )
    .hint("answer commit-pending with the line go on stdin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_line_go_is_leave() {
        assert!(answer(&mut "go\n".as_bytes()).is_ok());
        for no in ["", "go", "GO\n", " go\n", "stop\n", "\n"] {
            let error = answer(&mut no.as_bytes()).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_str()),
                (Kind::Cancelled, "no-leave"),
                "{no:?}"
            );
        }
    }
}
