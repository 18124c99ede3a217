// SPDX-License-Identifier: Apache-2.0
//! QEMU's control socket (QMP, QEMU's docs/interop/qmp-spec.txt).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde_json::{Value, json};

use super::session::Event;
use crate::error::{Error, Result};

/// How long QEMU may take to answer. It answers between two slices of the guest's execution.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Longest answer taken, bytes.
const LONGEST: u64 = 1 << 20;

/// A QMP connection past its handshake.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    answers: Receiver<Value>,
    last_id: u64,
}

impl Qmp {
    /// Takes the connection over; events go to `events`.
    pub(super) fn new(stream: UnixStream, events: &Sender<Event>) -> Result<Self> {
        let reader = stream.try_clone();
        let reader = reader.map_err(|e| Error::io("cannot use QEMU's control socket", e))?;
        let (give, answers) = mpsc::channel();
        let events = events.clone();
        std::thread::spawn(move || read(reader, &give, &events));
        let mut qmp = Self {
            stream,
            answers,
            last_id: 0,
        };
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and waits for its answer.
    ///
    /// # Errors
    /// `Host`/`qmp` when QEMU refuses it, does not answer or is gone.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.last_id = self.last_id.wrapping_add(1);
        let failed = |why: &dyn std::fmt::Display| {
            Error::host("qmp", format!("QEMU did not execute {command}")).because(why)
        };
        let request = json!({"execute": command, "arguments": arguments, "id": self.last_id});
        writeln!(self.stream, "{request}").map_err(|e| failed(&e))?;
        loop {
            let answer = self
                .answers
                .recv_timeout(ANSWER_LIMIT)
                .map_err(|e| failed(&e))?;
            if answer.get("id").and_then(Value::as_u64) != Some(self.last_id) {
                continue; // the greeting, or the answer to a command that took too long
            }
            if let Some(error) = answer.get("error") {
                return Err(failed(&error.get("desc").unwrap_or(error)));
            }
            return Ok(answer.get("return").cloned().unwrap_or_default());
        }
    }
}

fn read(stream: UnixStream, answers: &Sender<Value>, events: &Sender<Event>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stream.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(value) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let gone = if value.get("event").is_some() {
            events.send(Event::Qmp(value)).is_err()
        } else {
            answers.send(value).is_err()
        };
        if gone {
            return;
        }
    }
}
