// SPDX-License-Identifier: Apache-2.0
//! A child process that does not outlive us, and threads that read its pipes.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

/// What of a program's stderr is kept, bytes.
const KEPT: usize = 8192;

/// A command for a program that the kernel kills when its parent thread ends, where util-linux'
/// setpriv is there to arrange it.
pub(super) fn dying_with_us(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let works = SETPRIV.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "--no-new-privs", "true"]);
        let quiet = probe.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    });
    if !works {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--no-new-privs", "--"])
        .arg(program);
    command
}

/// Starts a child from a thread that lives until the sender is dropped: the parent-death signal
/// is bound to the thread, and ours may end before the child is to.
pub(super) fn spawn_on_own_thread(mut command: Command) -> Result<(Child, Sender<()>)> {
    let (hold, held) = mpsc::channel::<()>();
    let (give, given) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = give.send(command.spawn());
        let _ = held.recv();
    });
    match given.recv() {
        Ok(Ok(child)) => Ok((child, hold)),
        Ok(Err(e)) => Err(Error::io("cannot start QEMU", e)),
        Err(_) => Err(Error::internal("the thread that starts QEMU ended")),
    }
}

/// Reads to the end on a thread of its own; an empty slice stands for the end.
pub(super) fn read_all(
    mut from: impl Read + Send + 'static,
    mut take: impl FnMut(&[u8]) + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        loop {
            let n = from.read(&mut buffer).unwrap_or(0);
            let bytes = buffer.get(..n).unwrap_or_default();
            take(bytes);
            if bytes.is_empty() {
                return;
            }
        }
    });
}

/// A reader for [`read_all`] that keeps the last [`KEPT`] bytes.
pub(super) fn keep_in(kept: Arc<Mutex<Vec<u8>>>) -> impl FnMut(&[u8]) + Send {
    move |bytes| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_but_not_its_guard() {
        let asked = std::thread::spawn(|| {
            let mut command = dying_with_us(Path::new("sleep"));
            command.arg("60");
            spawn_on_own_thread(command).unwrap()
        });
        let (mut child, parent) = asked.join().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            child.try_wait().unwrap().is_none(),
            "it died with the asking thread"
        );
        drop(parent);
        if !Path::new("/usr/bin/setpriv").exists() {
            child.kill().unwrap();
        }
        let started = Instant::now();
        assert!(!child.wait().unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
