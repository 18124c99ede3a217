// SPDX-License-Identifier: Apache-2.0
//! The command line: one verb per file, each only arguments to pipeline to output.

mod args;
mod boot;
mod checks;
mod choice;
mod convert;
mod doctor;
mod drivers;
mod generate;
mod hive;
mod host;
mod inspect;
mod leave;
mod output;
mod plan;
mod progress;
mod recover;
mod state;
mod undo;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

pub use args::Cli;
use args::Verb;
use output::Output;

use crate::error::{Error, Kind, Result};

/// Runs the command line and says how the process ends.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_log(cli.common.verbose);
    let output = Output::new(cli.common.format);
    let result = crate::host::signal::catch().and_then(|()| dispatch(&cli, &output));
    ExitCode::from(match result {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            crate::host::signal::exit_code().unwrap_or_else(|| error.exit_code())
        }
    })
}

/// The whole command, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: &Cli, output: &Output) -> Result<u8> {
    let common = &cli.common;
    match &cli.verb {
        Verb::Inspect(args) => inspect::run(common, args, output),
        Verb::Plan(args) => plan::run(common, args, output),
        Verb::Convert(args) => convert::run(common, args, output),
        Verb::Verify(args) => verify::run(common, args, output),
        Verb::Doctor(args) => doctor::run(common, args, output),
        Verb::Boot(args) => boot::run(common, args, output),
        Verb::Undo(args) => undo::run(common, args, output),
        Verb::Recover(args) => recover::run(common, args, output),
        Verb::Drivers(args) => drivers::run(args, output),
        Verb::Hive(args) => hive::run(common, args, output),
        Verb::Host => host::run(output),
        Verb::State(args) => state::run(common, args, output),
        Verb::Checks => checks::run(output),
        Verb::Generate(args) => generate::run(args, output),
    }
}

/// clap prints help and version itself; a wrong command line becomes an error document where JSON
/// was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args().any(|arg| arg == "--format=json" || arg == "json");
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let error = Error::new(Kind::Usage, "usage", message).hint("see guestfix --help");
        Output::new(args::Format::Json).error(&error);
    } else {
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "guestfix=info",
        2 => "guestfix=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GUESTFIX_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // A second start (in tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .try_init();
}
