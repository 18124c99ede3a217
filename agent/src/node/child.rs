// SPDX-License-Identifier: Apache-2.0
//! One process tree: started, listened to, answered, stopped.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::mpsc;

use super::cgroup::Group;
use super::enter::Entry;
use crate::api::status::Progress;

/// A document longer than this is not believed, bytes.
const DOCUMENT: u64 = 64 << 20;
/// How long a process tree has to end when told to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the program's log that are kept for when it dies without a word.
const TAIL: usize = 20;

/// How far a process tree is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// What it said last.
    pub progress: Progress,
    /// It waits for leave to write.
    pub asking: bool,
    /// How it ended.
    pub end: Option<End>,
}

/// How a process tree ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End {
    /// Its exit code; 128 and the signal's number where one ended it.
    pub code: i32,
    /// What it printed.
    pub document: Value,
    /// The last lines of its log.
    pub tail: String,
}

/// What a process tree is told.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Write.
    Go,
    /// End; it has written nothing.
    Stop,
    /// End at once, whatever it does.
    Kill,
}

/// A process tree.
#[derive(Debug)]
pub struct Child {
    seen: Arc<Mutex<Seen>>,
    orders: mpsc::UnboundedSender<Order>,
}

/// Who hears that something changed.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// When this very program cannot be started again.
    pub fn start(
        entry: &Entry,
        program: &Path,
        args: &[String],
        group: Option<Group>,
        scratch: PathBuf,
        notify: Notify,
    ) -> std::io::Result<Self> {
        let entry = serde_json::to_string(entry)?;
        let mut process = Command::new("/proc/self/exe")
            .arg("enter")
            .arg("--entry")
            .arg(entry)
            .arg("--program")
            .arg(program)
            .arg("--")
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (orders, ordered) = mpsc::unbounded_channel();
        let pid = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let stdin = process.stdin.take();
        let listener = listen(&mut process, Arc::clone(&seen), Arc::clone(&notify));
        let told = Arc::clone(&seen);
        tokio::spawn(async move {
            let watching = obey(pid, stdin, ordered);
            let (document, tail) = tokio::select! {
                words = listener => words,
                () = watching => (Vec::new(), String::new()),
            };
            let status = process.wait().await;
            // Whatever it left behind ends here; keys and scratch files go.
            drop(group);
            let _ = std::fs::remove_dir_all(&scratch);
            let end = End {
                code: status.map_or(255, code),
                document: serde_json::from_slice(&document).unwrap_or_default(),
                tail,
            };
            let mut seen = told.lock().unwrap_or_else(PoisonError::into_inner);
            seen.asking = false;
            seen.end = Some(end);
            drop(seen);
            notify();
        });
        Ok(Self { seen, orders })
    }

    /// How far it is.
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Tells it something.
    pub fn order(&self, order: Order) {
        if matches!(order, Order::Go) {
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .asking = false;
        }
        // One that has ended hears nothing, and need not.
        let _ = self.orders.send(order);
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signalled = status.signal().map(|signal| signal.saturating_add(128));
    status.code().or(signalled).unwrap_or(255)
}

/// Reads what it prints until it closes its output: the document, and the end of its log.
fn listen(
    process: &mut Process,
    seen: Arc<Mutex<Seen>>,
    notify: Notify,
) -> impl Future<Output = (Vec<u8>, String)> + Send + use<> {
    let stdout = process.stdout.take();
    let stderr = process.stderr.take();
    async move {
        let printed = async {
            let mut document = Vec::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(DOCUMENT).read_to_end(&mut document).await;
            }
            document
        };
        let logged = async {
            let mut tail: Vec<String> = Vec::new();
            let Some(stderr) = stderr else {
                return String::new();
            };
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let line = String::from_utf8_lossy(&line).into_owned();
                match progress(&line) {
                    Some(progress) => {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.asking = progress.stage == "commit-pending";
                        seen.progress = progress;
                        drop(seen);
                        notify();
                    }
                    None => {
                        tracing::info!(line, "guestfix");
                        tail.push(line);
                        if tail.len() > TAIL {
                            tail.remove(0);
                        }
                    }
                }
            }
            tail.join("\n")
        };
        tokio::join!(printed, logged)
    }
}

/// Passes orders on. Ends only when the process tree was killed and does not even then.
async fn obey(
    pid: Option<Pid>,
    mut stdin: Option<ChildStdin>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
) {
    let mut deadline = None;
    loop {
        let order = tokio::select! {
            order = ordered.recv() => order,
            () = until(deadline) => Some(Order::Kill),
        };
        match order {
            Some(Order::Go) => {
                if let Some(stdin) = &mut stdin {
                    let _ = stdin.write_all(b"go\n").await;
                    let _ = stdin.flush().await;
                }
            }
            Some(Order::Stop) => {
                // A closed pipe is no leave to write.
                stdin = None;
                signal(pid, Signal::SIGTERM, false);
                deadline = tokio::time::Instant::now().checked_add(PATIENCE);
            }
            Some(Order::Kill) => {
                drop(stdin);
                signal(pid, Signal::SIGKILL, true);
                tokio::time::sleep(PATIENCE).await;
                return;
            }
            // Nobody can give orders any more: it is left to end by itself.
            None => std::future::pending().await,
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn signal(pid: Option<Pid>, signal: Signal, whole_group: bool) {
    let Some(pid) = pid else { return };
    let target = if whole_group {
        Pid::from_raw(pid.as_raw().saturating_neg())
    } else {
        pid
    };
    // It may have ended meanwhile.
    let _ = kill(target, signal);
}

/// A progress line, where it is one.
fn progress(line: &str) -> Option<Progress> {
    let value: Value = serde_json::from_str(line).ok()?;
    if value.pointer("/schema")?.as_str()? != "guestfix.io/progress/v1" {
        return None;
    }
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (stage, detail) = (
        text("stage"),
        crate::api::condition::clip(&text("detail"), 256),
    );
    let (done, total) = (number("done"), number("total"));
    let shown = if total > 0 {
        format!("{stage} {done}/{total}")
    } else {
        stage.clone()
    };
    Some(Progress {
        stage,
        detail,
        done,
        total,
        text: shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_lines_are_progress() {
        let line = r#"{"schema":"guestfix.io/progress/v1","stage":"apply","detail":"x","done":3,"total":9}"#;
        let seen = progress(line).unwrap();
        assert_eq!((seen.text.as_str(), seen.done), ("apply 3/9", 3));
        assert_eq!(progress("a log line"), None);
        assert_eq!(progress(r#"{"schema":"other"}"#), None);
    }
}
