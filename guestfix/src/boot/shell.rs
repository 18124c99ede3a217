// SPDX-License-Identifier: Apache-2.0
//! A shell on the guest's serial console, for tests that ask the guest what it sees.

use std::time::Duration;

use regex::Regex;

use super::session::Session;
use crate::error::{Error, Result};

/// How long a password prompt may take before the user's name counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often the user's name is typed.
const TRIES: u32 = 5;

impl Session {
    /// Logs in at the serial console's prompt and waits for a shell.
    ///
    /// # Errors
    /// As [`Session::expect`], of which each of the four steps may take `timeout`.
    pub fn log_in(&mut self, user: &str, password: &str, timeout: Duration) -> Result<()> {
        self.expect(&pattern("login: ")?, timeout)?;
        self.send(user)?;
        // getty throws away what is typed while it starts: an empty line brings the prompt back, also
        // where it was taken for a wrong password.
        let asked = pattern("[Pp]assword: ")?;
        let mut tries = 1;
        while let Err(error) = self.expect(&asked, timeout.min(PATIENCE)) {
            if tries == TRIES || error.code != "expect-timeout" {
                return Err(error);
            }
            tries += 1;
            self.send("")?;
            self.expect(&pattern("login: ")?, timeout)?;
            self.send(user)?;
        }
        self.send(password)?;
        self.expect(&pattern("[#$] ")?, timeout)?;
        // Kernel messages would be mixed with what commands print.
        self.command("stty cols 500; dmesg -n 1", timeout)
            .map(|_| ())
    }

    /// Runs a command line (without `&` or a comment at its end) in the shell: its exit status and
    /// what it printed, without white space at the end.
    ///
    /// # Errors
    /// As [`Session::expect`].
    pub fn command(&mut self, command: &str, timeout: Duration) -> Result<(i32, String)> {
        // The quotes keep an echoed command line from looking like the marks.
        self.send(&format!("echo '@@'BEGIN; {command}; echo '@@'END $?"))?;
        self.expect(&pattern("@@BEGIN\n")?, timeout)?;
        let end = pattern(r"@@END \d+\n")?;
        let text = self.expect(&end, timeout)?;
        let (output, status) = text.rsplit_once("@@END ").unwrap_or_default();
        let status = status.trim().parse().unwrap_or(-1);
        Ok((status, output.trim_end().to_owned()))
    }
}

fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|e| Error::internal("a bad pattern").because(e))
}
