// SPDX-License-Identifier: Apache-2.0
//! What a line on the console says about the boot.
//!
//! Messages were taken from their programs' sources: Linux `init/do_mounts.c` and
//! `kernel/panic.c`, initramfs-tools `scripts/local`, dracut `dracut-lib.sh` and
//! `dracut-initqueue.sh`, mkinitcpio `init`, Alpine's `initramfs-init`, systemd's unit
//! descriptions and `cryptsetup.c`, Debian's cryptsetup-initramfs `functions`, GRUB `kern/rescue_reader.c`, SeaBIOS `boot.c`, EDK II `BdsDxe`.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::console::Piece;

/// Why a guest did not boot, or why that is not known. The words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The kernel panicked.
    Panic,
    /// The root filesystem or its disk was not found.
    NoRoot,
    /// An emergency or rescue shell was started.
    EmergencyShell,
    /// The firmware or the boot loader found nothing to start.
    NoBootloader,
    /// The machine was reset again and again.
    ResetLoop,
    /// The guest switched the machine off.
    PoweredOff,
    /// The guest asked for a passphrase that was not given, or not the right one.
    Locked,
    /// Nothing conclusive was seen in time.
    Timeout,
    /// QEMU ended by itself.
    QemuEnded,
}

impl Reason {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::NoRoot => "no-root",
            Self::EmergencyShell => "emergency-shell",
            Self::NoBootloader => "no-bootloader",
            Self::ResetLoop => "reset-loop",
            Self::PoweredOff => "powered-off",
            Self::Locked => "locked",
            Self::Timeout => "timeout",
            Self::QemuEnded => "qemu-ended",
        }
    }
}

/// What is known of the boot, and the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `None`: it booted.
    pub failure: Option<Reason>,
    /// The line as seen.
    pub line: String,
}

/// Collects evidence line by line; the first conclusive line decides.
#[derive(Debug, Default)]
pub struct Evidence {
    conclusion: Option<Finding>,
    hint: Option<Finding>,
    question: Option<String>,
}

impl Evidence {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at one piece of console text.
    pub fn see(&mut self, piece: &Piece<'_>) {
        if self.conclusion.is_some() {
            return;
        }
        match piece {
            Piece::Prompt(text) => self.prompt(text),
            Piece::Line(text) => self.line(text),
        }
    }

    /// Looks at a whole line of a screen, where a prompt is a line like any other.
    pub fn see_row(&mut self, row: &str) {
        self.see(&Piece::Line(row));
        self.see(&Piece::Prompt(row));
    }

    /// Concludes that it booted from evidence that is not console text.
    pub fn booted_by(&mut self, what: &str) {
        self.conclude(None, what);
    }

    /// Concludes a failure from evidence that is not console text.
    pub fn failed_by(&mut self, reason: Reason, what: &str) {
        self.conclude(Some(reason), what);
    }

    /// The conclusion, once there is one.
    pub fn conclusion(&self) -> Option<&Finding> {
        self.conclusion.as_ref()
    }

    /// What was seen that points to a failure without proving it.
    pub fn hint(&self) -> Option<&Finding> {
        self.hint.as_ref()
    }

    /// The question for a passphrase that was seen last; each is told once.
    pub fn take_question(&mut self) -> Option<String> {
        self.question.take()
    }

    fn prompt(&mut self, text: &str) {
        let text = text.trim();
        if QUESTIONS.iter().any(|question| question.is_match(text)) {
            self.question = Some(text.to_owned());
            return;
        }
        if let Some(failure) = first_match(&PROMPTS, text) {
            self.conclude(failure, text);
        }
    }

    fn line(&mut self, text: &str) {
        if BOOTED.as_ref().is_some_and(|booted| booted.is_match(text)) {
            return self.conclude(None, text);
        }
        if let Some(reason) = first_match(&CONCLUSIVE, text) {
            return self.conclude(Some(reason), text);
        }
        let Some(reason) = first_match(&HINTS, text) else {
            return;
        };
        let known = self.hint.as_ref().and_then(|hint| hint.failure);
        if known.is_none() || (reason == Reason::NoRoot && known != Some(Reason::NoRoot)) {
            self.hint = Some(finding(Some(reason), text));
        }
    }

    /// A missing root ends in a panic, a shell or resets: the line that says what is missing tells
    /// more.
    fn conclude(&mut self, failure: Option<Reason>, text: &str) {
        if self.conclusion.is_some() {
            return;
        }
        let cause = self.hint.take().filter(|hint| {
            matches!(
                failure,
                Some(Reason::Panic | Reason::EmergencyShell | Reason::ResetLoop)
            ) && hint.failure == Some(Reason::NoRoot)
        });
        self.conclusion = Some(cause.unwrap_or_else(|| finding(failure, text)));
    }
}

fn finding(failure: Option<Reason>, text: &str) -> Finding {
    Finding {
        failure,
        line: text.trim().to_owned(),
    }
}

type Table<T> = Vec<(Regex, T)>;

fn first_match<T: Copy>(table: &Table<T>, text: &str) -> Option<T> {
    table
        .iter()
        .find(|(pattern, _)| pattern.is_match(text))
        .map(|&(_, means)| means)
}

fn table<T: Copy>(rows: &[(&str, T)]) -> Table<T> {
    rows.iter()
        .filter_map(|&(pattern, means)| Some((Regex::new(pattern).ok()?, means)))
        .collect()
}

static BOOTED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("Reached target .*(?:Multi-User System|Graphical Interface)").ok());
static QUESTIONS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = QUESTION_ROWS.iter();
    patterns.filter_map(|p| Regex::new(p).ok()).collect()
});
static PROMPTS: LazyLock<Table<Option<Reason>>> = LazyLock::new(|| table(PROMPT_ROWS));
static CONCLUSIVE: LazyLock<Table<Reason>> = LazyLock::new(|| table(CONCLUSIVE_ROWS));
static HINTS: LazyLock<Table<Reason>> = LazyLock::new(|| table(HINT_ROWS));

/// cryptsetup's initramfs script of Debian, systemd's cryptsetup generator, dracut without systemd and
/// cryptsetup itself. A lone `)` of "(press TAB for no echo)" ends none of them.
const QUESTION_ROWS: &[&str] = &[
    r"^Please unlock disk .+:$",
    r"[Pp]lease enter passphrase for disk .+:$",
    r"^(?:Password|Passphrase) \(/dev/.+\):$",
    r"^Enter passphrase for .+:$",
];

const PROMPT_ROWS: &[(&str, Option<Reason>)] = &[
    // `(none)` is the host name of a guest that has none.
    (r"^(?:(?:\(none\)|[A-Za-z0-9][\w.-]*) )?login:$", None),
    // Windows' Emergency Management Services: the kernel and its console driver run.
    (r"^SAC>$", None),
    (r"^grub(?: rescue)?>$", Some(Reason::NoBootloader)),
    (r"^Shell>$", Some(Reason::NoBootloader)),
    (r"^\(initramfs\)$", Some(Reason::EmergencyShell)),
];

#[rustfmt::skip]
const CONCLUSIVE_ROWS: &[(&str, Reason)] = {
    use Reason::{EmergencyShell, NoBootloader, NoRoot, Panic};
    &[
        (r"Kernel panic - not syncing: VFS: Unable to mount root", NoRoot),
        (r"Kernel panic - not syncing", Panic),
        (r"ALERT!.* does not exist[.,]", NoRoot),
        (r"Rebooting automatically due to panic= boot argument", EmergencyShell),
        (r"You are in (?:emergency|rescue) mode", EmergencyShell),
        (r"Entering emergency mode", EmergencyShell),
        (r"Generating .?/run/initramfs/rdsosreport\.txt", EmergencyShell),
        (r"being dropped into an emergency shell", EmergencyShell),
        (r"initramfs emergency recovery shell launched", EmergencyShell),
        (r"Cannot open access to console, the root account is locked", EmergencyShell),
        (r"Give root password for maintenance", EmergencyShell),
        (r"Reached target .*(?:Emergency Mode|Rescue Mode)", EmergencyShell),
        (r"^No bootable device", NoBootloader),
        (r"^Entering rescue mode\.\.\.", NoBootloader),
        (r"Minimal BASH-like line editing is supported", NoBootloader),
        (r"^UEFI Interactive Shell", NoBootloader),
        (r"BdsDxe: No bootable option or device was found", NoBootloader),
        (r"^(?:BOOTMGR|NTLDR) is missing", NoBootloader),
        (r"^An operating system wasn't found", NoBootloader),
        (r"^(?:Missing operating system|Operating System not found)", NoBootloader),
    ]
};

/// Each of these may also be seen on the way to a good boot.
#[rustfmt::skip]
const HINT_ROWS: &[(&str, Reason)] = {
    use Reason::{EmergencyShell, NoBootloader, NoRoot};
    &[
        // "Gave up waiting for suspend/resume device" is harmless. An ALERT that names the device,
        // or the reboot that panic= asks for, follows this one.
        (r"Gave up waiting for root", NoRoot),
        (r"Warning: /dev/\S+ does not exist", NoRoot),
        (r"VFS: Cannot open root device", NoRoot),
        (r"[Mm]ounting root failed", NoRoot),
        (r"Failed to mount the real root device", NoRoot),
        (r"mount: could not find filesystem '/dev/root'", NoRoot),
        (r"Dependency failed for .*(?:[Ii]nitrd [Rr]oot|/sysroot|sysroot\.mount)", NoRoot),
        (r"dracut-initqueue.* timeout", EmergencyShell),
        (r"Dependency failed for .*Local File Systems", EmergencyShell),
        (r"UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY", EmergencyShell),
        (r"^Boot failed: ", NoBootloader),
        (r"^error: (?:.*no such device|unknown filesystem|.*not found\.)", NoBootloader),
        (r"^error: .*you need to load the kernel first", NoBootloader),
        (r"^BdsDxe: failed to (?:load|start) ", NoBootloader),
    ]
};

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
