// SPDX-License-Identifier: Apache-2.0
//! `guestfix generate`: what is made from the code and committed under docs/.

use std::path::Path;

use clap_complete::Shell;
use schemars::{JsonSchema, schema_for};

use super::args::{GenerateArgs, Generated};
use super::checks::ChecksDocument;
use super::drivers::DriversDocument;
use super::hive::HiveDocument;
use super::host::HostDocument;
use super::output::{ErrorDocument, Output};
use super::state::StateDocument;
use crate::boot::BootReport;
use crate::error::{Error, Result};
use crate::inspect::Facts;
use crate::pipeline::progress::ProgressLine;
use crate::pipeline::{RecoverReport, UndoReport};
use crate::plan::Plan;
use crate::report::Report;

pub(super) fn run(args: &GenerateArgs, _: &Output) -> Result<u8> {
    std::fs::create_dir_all(&args.dir).map_err(|e| writing(&args.dir, e))?;
    match args.what {
        Generated::Man => {
            clap_mangen::generate_to(super::command(), &args.dir)
                .map_err(|e| writing(&args.dir, e))?;
        }
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut super::command(), "guestfix", &args.dir)
                    .map_err(|e| writing(&args.dir, e))?;
            }
        }
        Generated::Schemas => schemas(&args.dir)?,
    }
    Ok(0)
}

fn writing(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("writing {}", path.display()), error)
}

fn schemas(dir: &Path) -> Result<()> {
    schema::<Facts>(dir, "facts")?;
    schema::<Plan>(dir, "plan")?;
    schema::<Report>(dir, "report")?;
    schema::<BootReport>(dir, "boot")?;
    schema::<ErrorDocument>(dir, "error")?;
    schema::<ProgressLine>(dir, "progress")?;
    schema::<UndoReport>(dir, "undo")?;
    schema::<RecoverReport>(dir, "recover")?;
    schema::<ChecksDocument>(dir, "checks")?;
    schema::<DriversDocument>(dir, "drivers")?;
    schema::<HiveDocument>(dir, "hive")?;
    schema::<HostDocument>(dir, "host")?;
    schema::<StateDocument>(dir, "state")
}

/// Writes the schema of a document and fixes its `schema` word.
fn schema<T: JsonSchema>(dir: &Path, name: &str) -> Result<()> {
    let mut value = schema_for!(T).to_value();
    if let Some(word) = value.pointer_mut("/properties/schema") {
        *word = serde_json::json!({ "const": format!("guestfix.io/{name}/v1") });
    }
    let mut text = serde_json::to_string_pretty(&value)
        .map_err(|e| Error::internal("encoding a schema").because(e))?;
    text.push('\n');
    let path = dir.join(format!("{name}.v1.json"));
    std::fs::write(&path, text).map_err(|e| writing(&path, e))
}
