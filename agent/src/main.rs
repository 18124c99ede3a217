// SPDX-License-Identifier: Apache-2.0
//! `guestfix-agent`: one binary, two roles (controller and node) and the small programs that
//! they need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent::node::claims::Refusal;
use agent::node::enter::{self, Entry};
use agent::ops::lay;
use agent::ops::shutdown::Shutdown;
use agent::{controller, node};
use clap::{Parser, Subcommand};
use kube::Client;

/// guestfix on a cluster.
#[derive(Debug, Parser)]
#[command(name = "guestfix-agent", version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Group disks, make holder pods, gate and patch VMs (a Deployment, unprivileged).
    Controller(controller::Options),
    /// Convert the guests whose disks are mounted on this node (a DaemonSet, privileged).
    Node(node::Options),
    /// Sleep until told to end: what a holder pod runs.
    Pause,
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Copy this program and what it is loaded with into a directory.
    #[command(hide = true)]
    Lay { to: PathBuf },
    /// Copy the ISO images of a directory into another.
    #[command(hide = true)]
    Copy { from: PathBuf, to: PathBuf },
    /// Enter a mount namespace with one guest's claims and become guestfix.
    #[command(hide = true)]
    Enter {
        #[arg(long)]
        entry: String,
        #[arg(long)]
        program: PathBuf,
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    // Entering a namespace is for a process of one thread: no runtime is started before.
    let result = match Cli::parse().role {
        Role::Controller(options) => serve(|client, stop| controller::run(client, options, stop)),
        Role::Node(options) => serve(|client, stop| node::run(client, options, stop)),
        Role::Pause => pause(),
        Role::Crds => crds(),
        Role::Lay { to } => lay::lay(&to),
        Role::Copy { from, to } => copy(&from, &to),
        Role::Enter {
            entry,
            program,
            args,
        } => return become_guestfix(&entry, &program, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "guestfix-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve<F>(role: impl FnOnce(Client, Shutdown) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let stop = Shutdown::on_signals().map_err(|e| e.to_string())?;
        let client = Client::try_default().await.map_err(|e| e.to_string())?;
        role(client, stop).await
    })
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GUESTFIX_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("agent=info,warn"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn pause() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let stop = Shutdown::on_signals().map_err(|e| e.to_string())?;
        stop.wait().await;
        Ok(())
    })
}

fn crds() -> Result<(), String> {
    let text = agent::api::crd::yaml().map_err(|e| e.to_string())?;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| e.to_string())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let shown = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let mut copied = false;
    for entry in std::fs::read_dir(from).map_err(|e| shown(from, e))? {
        let path = entry.map_err(|e| shown(from, e))?.path();
        let iso = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("iso"));
        if let Some(name) = path.file_name().filter(|_| iso) {
            std::fs::copy(&path, to.join(name)).map_err(|e| shown(&path, e))?;
            copied = true;
        }
    }
    if copied {
        Ok(())
    } else {
        Err(format!("no ISO in {}", from.display()))
    }
}

/// Returns only when it cannot: then with the document of an error, as guestfix prints it.
fn become_guestfix(entry: &str, program: &Path, args: &[String]) -> ExitCode {
    let refusal = match serde_json::from_str::<Entry>(entry) {
        Ok(entry) => enter::enter(&entry, program, args),
        Err(error) => Refusal::new("NodeCannot", error.to_string()),
    };
    let document = serde_json::json!({
        "schema": "guestfix.io/error/v1",
        "kind": "host",
        "code": refusal.reason,
        "message": refusal.message,
        "hint": "",
    });
    let _ = writeln!(std::io::stdout(), "{document}");
    ExitCode::from(6)
}
