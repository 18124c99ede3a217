// SPDX-License-Identifier: Apache-2.0
//! A started guest: watched, spoken to on its serial console, and gone when dropped.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};

use super::accel::{self, Accel};
use super::console::{Console, Piece};
use super::evidence::{Evidence, Reason};
use super::machine::{Arch, Machine};
use super::passphrase::Passphrase;
use super::pixels::{self, Font, Picture};
use super::qemu::Qemu;
use super::qmp::Qmp;
use super::{screen, wiring};
use crate::error::{Error, Result};
use crate::inspect::facts::Firmware;

/// Resets that a guest may do on the way to a good boot: the first boot of some systems relabels
/// or enlarges the root and starts again.
const RESETS_ALLOWED: u32 = 2;

/// How often an opened agent channel is asked whether the agent is there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// What reaches a session from its threads.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes from the guest's serial port.
    Serial(Vec<u8>),
    /// QEMU closed its end: it is ending.
    SerialEnd,
    /// An event of QEMU's.
    Qmp(Value),
    /// The guest agent answered.
    Agent,
}

/// A guest running in QEMU on a throw-away overlay.
#[derive(Debug)]
pub struct Session {
    qmp: Qmp,
    qemu: Qemu,
    agent: UnixStream,
    events: Receiver<Event>,
    machine: Machine,
    accel: Accel,
    started: Instant,
    console: Console,
    evidence: Evidence,
    lines: VecDeque<String>,
    resets: u32,
    ended: bool,
    font: Option<Font>,
    next_ping: Option<Instant>,
    passphrases: VecDeque<Passphrase>,
}

impl Session {
    /// Starts the machine with the best accelerator of this host. The guest's disks are opened
    /// read-only; what the guest writes goes to temporary files.
    ///
    /// # Errors
    /// `Host`/`qemu-missing`, `qemu-failed`, `efi-firmware-missing` or `io`; `Refused`/`in-use`;
    /// `Unsupported`/`too-many-disks`.
    pub fn start(machine: &Machine) -> Result<Self> {
        Self::start_with(machine, accel::best(machine.arch))
    }

    /// Like [`Session::start`], with an accelerator of the caller's choice.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn start_with(machine: &Machine, accel: Accel) -> Result<Self> {
        let (give, events) = mpsc::channel();
        let started = Instant::now();
        let (mut qemu, sockets) = Qemu::start(machine, accel, &give)?;
        let qmp = Qmp::new(sockets.qmp, &give).map_err(|error| qemu.why_it_ended(error))?;
        listen_to_agent(&sockets.agent, give)?;
        Ok(Self {
            qmp,
            qemu,
            agent: sockets.agent,
            events,
            machine: machine.clone(),
            accel,
            started,
            console: Console::new(),
            evidence: Evidence::new(),
            lines: VecDeque::new(),
            resets: 0,
            ended: false,
            next_ping: None,
            passphrases: VecDeque::new(),
            font: None,
        })
    }

    /// What runs the guest.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// The machine it was started with.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Time since the start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is known of the boot so far.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// True when QEMU has ended: the guest switched itself off, or QEMU failed.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The last 40 lines of the console; where nothing came over the serial port, of the screen.
    pub fn tail(&mut self) -> Vec<String> {
        let tail = self.console.tail();
        if !tail.is_empty() || !self.has_text_screen() {
            return tail;
        }
        let mut rows = self.screen().unwrap_or_default();
        rows.split_off(rows.len().saturating_sub(40))
    }

    /// Waits until the console's text matches, and takes it up to and with the match; later calls
    /// see only what follows. Escape sequences are removed, line ends are `\n`.
    ///
    /// # Errors
    /// `Host`/`expect-timeout` with the last lines as causes; `Host`/`guest-ended`.
    pub fn expect(&mut self, pattern: &Regex, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let text = self.console.unread();
            if let Some(found) = pattern.find(&text) {
                let taken = text.get(..found.end()).unwrap_or_default().to_owned();
                self.console.take(&text, found.end());
                return Ok(taken);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let code = match (self.ended, left.is_zero()) {
                (true, _) => "guest-ended",
                (_, true) => "expect-timeout",
                _ => {
                    self.step(left)?;
                    continue;
                }
            };
            let last = self
                .console
                .tail()
                .split_off(self.console.tail().len().saturating_sub(5));
            let message = format!("the console did not show {:?}", pattern.as_str());
            return Err(Error::host(code, message).because(last.join("\n")));
        }
    }

    /// Types a line and Enter on the serial console.
    ///
    /// # Errors
    /// `Host`/`io` when QEMU is gone.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.qemu.type_bytes(format!("{line}\r").as_bytes())
    }

    /// What is typed when the guest asks for a passphrase: each once, in order.
    pub fn unlock_with(&mut self, passphrases: Vec<Passphrase>) {
        self.passphrases = passphrases.into();
    }

    /// Answers a question for a passphrase that was seen.
    fn answer(&mut self) -> Result<()> {
        let Some(question) = self.evidence.take_question() else {
            return Ok(());
        };
        match self.passphrases.pop_front() {
            Some(passphrase) => self.send(passphrase.text()),
            None => {
                self.evidence.failed_by(Reason::Locked, &question);
                Ok(())
            }
        }
    }

    /// Writes a picture of the screen as PNG.
    ///
    /// # Errors
    /// `Host`/`qmp` when QEMU cannot (PNG needs QEMU 7.1 or newer); `Host`/`io`.
    pub fn screenshot(&mut self, to: &Path) -> Result<()> {
        let arguments = json!({"filename": "screen.png", "format": "png"});
        self.qmp.execute("screendump", &arguments)?;
        std::fs::copy(self.qemu.dir().join("screen.png"), to)
            .map(|_| ())
            .map_err(|e| Error::io(format!("cannot write {}", to.display()), e))
    }

    /// The rows of text on the VGA screen: from memory in text mode, else off its pixels.
    ///
    /// # Errors
    /// `Host`/`qmp`, `Host`/`io`.
    pub fn screen(&mut self) -> Result<Vec<String>> {
        if self.ended || !self.has_text_screen() {
            return Ok(Vec::new());
        }
        self.qmp.execute(
            "screendump",
            &json!({"filename": "screen.ppm", "format": "ppm"}),
        )?;
        let drawn = self.dumped("screen.ppm")?;
        match Picture::parse(&drawn).filter(|picture| !picture.is_text_mode()) {
            Some(picture) => Ok(self
                .font()?
                .map(|font| picture.rows(&font))
                .unwrap_or_default()),
            None => Ok(screen::rows(&self.memory(screen::ADDRESS, screen::SIZE)?)),
        }
    }

    /// The font of the machine's VGA BIOS.
    fn font(&mut self) -> Result<Option<Font>> {
        if self.font.is_none() {
            self.font = Font::in_rom(&self.memory(pixels::ROM, pixels::ROM_SIZE)?);
        }
        Ok(self.font.clone())
    }

    fn memory(&mut self, address: u64, size: usize) -> Result<Vec<u8>> {
        let arguments = json!({"val": address, "size": size, "filename": "memory.bin"});
        self.qmp.execute("pmemsave", &arguments)?;
        self.dumped("memory.bin")
    }

    fn dumped(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.qemu.dir().join(name))
            .map_err(|e| Error::io("cannot read the screen", e))
    }

    /// What QEMU itself complained about.
    pub(super) fn complaints(&self) -> String {
        self.qemu.stderr()
    }

    /// Lines that the console ended since the last call.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.drain(..).collect()
    }

    /// Looks for evidence on the screen.
    pub(super) fn look_at_screen(&mut self) -> Result<()> {
        for row in self.screen()? {
            self.evidence.see_row(&row);
        }
        Ok(())
    }

    /// Waits for something to happen, at most `wait`, and takes note of it.
    ///
    /// # Errors
    /// `Host`/`qemu-stopped` when QEMU paused the guest, for example because the scratch
    /// directory is full.
    pub(super) fn step(&mut self, wait: Duration) -> Result<()> {
        self.ping_when_due();
        let wait = self.next_ping.map_or(wait, |_| wait.min(PING_EVERY));
        match self.events.recv_timeout(wait) {
            Ok(Event::Serial(bytes)) => {
                self.serial(&bytes);
                self.answer()?;
            }
            Ok(Event::Qmp(event)) => self.qmp_event(&event)?,
            Ok(Event::Agent) => self.evidence.booted_by("the guest agent answered"),
            Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(())
    }

    fn has_text_screen(&self) -> bool {
        self.machine.arch == Arch::X86_64 && self.machine.firmware == Firmware::Bios
    }

    fn serial(&mut self, bytes: &[u8]) {
        let (evidence, lines) = (&mut self.evidence, &mut self.lines);
        self.console.feed(bytes, |piece| {
            evidence.see(&piece);
            if let Piece::Line(line) = piece {
                if lines.len() >= 1000 {
                    lines.pop_front();
                }
                lines.push_back(line.to_owned());
            }
        });
    }

    fn qmp_event(&mut self, event: &Value) -> Result<()> {
        let data = event.get("data").cloned().unwrap_or_default();
        let by_guest = data.get("guest").and_then(Value::as_bool) == Some(true);
        match event.get("event").and_then(Value::as_str) {
            Some("RESET") if by_guest => {
                self.resets = self.resets.saturating_add(1);
                if self.resets > RESETS_ALLOWED {
                    let what = format!("the guest reset the machine {} times", self.resets);
                    self.evidence.failed_by(Reason::ResetLoop, &what);
                }
            }
            Some("SHUTDOWN") if by_guest => {
                let what = "the guest switched the machine off";
                self.evidence.failed_by(Reason::PoweredOff, what);
            }
            Some("STOP") => {
                return Err(Error::host("qemu-stopped", "QEMU paused the guest")
                    .because(self.complaints())
                    .hint("look for free space in the scratch directory (TMPDIR)"));
            }
            Some("VSERPORT_CHANGE") => {
                let port = data.get("id").and_then(Value::as_str);
                let open = data.get("open").and_then(Value::as_bool) == Some(true);
                if port == Some(wiring::AGENT_PORT) {
                    self.next_ping = open.then(Instant::now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ping_when_due(&mut self) {
        if self.next_ping.is_some_and(|at| Instant::now() >= at) {
            let _ = self.agent.write_all(b"{\"execute\":\"guest-ping\"}\n");
            self.next_ping = Some(Instant::now() + PING_EVERY);
        }
    }
}

/// An answer of the agent is one JSON object in a line; `return` means that it did what was asked.
fn listen_to_agent(agent: &UnixStream, events: Sender<Event>) -> Result<()> {
    let stuck = |e: std::io::Error| Error::io("cannot use the agent's socket", e);
    // A guest that opens its port and never reads must not block us.
    agent
        .set_write_timeout(Some(Duration::from_millis(100)))
        .map_err(stuck)?;
    let mut reader = agent.try_clone().map_err(stuck)?;
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 512];
        let mut text = String::new();
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            text.push_str(&String::from_utf8_lossy(
                buffer.get(..n).unwrap_or_default(),
            ));
            if text.contains("\"return\"") && events.send(Event::Agent).is_err() {
                return;
            }
            if text.contains('\n') || text.len() > 4096 {
                text.clear();
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_agent_counts() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let (give, events) = mpsc::channel();
        listen_to_agent(&ours, give).unwrap();
        let wait = Duration::from_millis(200);
        guest
            .write_all(b"{\"error\": {\"class\": \"x\"}}\n")
            .unwrap();
        assert!(events.recv_timeout(wait).is_err());
        guest.write_all(b"{\"retu").unwrap();
        guest.write_all(b"rn\": {}}\n").unwrap();
        assert!(matches!(events.recv_timeout(wait * 50), Ok(Event::Agent)));
    }
}
