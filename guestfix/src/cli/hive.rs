// SPDX-License-Identifier: Apache-2.0
//! `guestfix hive`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::{Common, HiveArgs, HiveVerb};
use super::output::Output;
use crate::error::{Error, Kind, Result};
use crate::hive::{self, Difference, Dirty, Recovery, Summary, Value, ValueType, typed};
use crate::pipeline::progress::Silent;
use crate::pipeline::{self, Context, OpeningChoice};

/// The document `guestfix.io/hive/v1`; a verb fills what it is about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct HiveDocument {
    /// Always `guestfix.io/hive/v1`.
    pub schema: String,
    /// The hive file.
    pub file: PathBuf,
    /// How it was found.
    pub recovery: Recovery,
    /// `get`: names of the subkeys.
    pub subkeys: Option<Vec<String>>,
    /// `get`: the values.
    pub values: Option<Vec<ValueView>>,
    /// `export`: the `.reg` text.
    pub text: Option<String>,
    /// `diff`: what differs.
    pub differences: Option<Vec<Difference>>,
    /// `check`: what the hive holds.
    pub summary: Option<Summary>,
    /// `set`, `delete`: whether the file was written.
    pub changed: Option<bool>,
    /// `set`, `delete`: the undo record that `guestfix undo FILE` takes back.
    pub undo: Option<String>,
}

/// One value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct ValueView {
    /// Its name; empty for the default value.
    pub name: String,
    /// Its type, for example `REG_SZ`.
    pub kind: String,
    /// Its data as `.reg` text.
    pub data: String,
}

pub(super) fn run(common: &Common, args: &HiveArgs, output: &Output) -> Result<u8> {
    let context = &Context {
        state_dir: &common.state_dir,
        progress: &Silent,
        opening: &OpeningChoice::default(),
    };
    let dirty = if args.accept_dirty {
        Dirty::Accept
    } else {
        Dirty::Refuse
    };
    let document = match &args.verb {
        HiveVerb::Get { file, key, name } => get(context, file, dirty, key, name.as_deref())?,
        HiveVerb::Set {
            file,
            key,
            name,
            data,
        } => set(
            context,
            file,
            dirty,
            key,
            name.as_deref().zip(data.as_deref()),
        )?,
        HiveVerb::Delete { file, key, name } => delete(context, file, dirty, key, name.as_deref())?,
        HiveVerb::Export { file, key, prefix } => {
            let opened = pipeline::read_hive(context, file, dirty)?;
            let text = hive::export(&opened, key, prefix)?;
            HiveDocument {
                text: Some(text),
                ..about(file, opened.recovery())
            }
        }
        HiveVerb::Diff { file, other } => {
            let opened = pipeline::read_hive(context, file, dirty)?;
            let other = pipeline::read_hive(context, other, dirty)?;
            HiveDocument {
                differences: Some(hive::diff(&opened, &other)?),
                ..about(file, opened.recovery())
            }
        }
        HiveVerb::Check { file } => {
            let opened = pipeline::read_hive(context, file, dirty)?;
            HiveDocument {
                summary: Some(opened.check()?),
                ..about(file, opened.recovery())
            }
        }
    };
    output.result(&document, render);
    let differs = document.differences.is_some_and(|d| !d.is_empty());
    Ok(u8::from(differs))
}

fn about(file: &Path, recovery: &Recovery) -> HiveDocument {
    HiveDocument {
        schema: "guestfix.io/hive/v1".to_owned(),
        file: file.to_owned(),
        recovery: recovery.clone(),
        subkeys: None,
        values: None,
        text: None,
        differences: None,
        summary: None,
        changed: None,
        undo: None,
    }
}

fn missing(what: String) -> Error {
    Error::new(Kind::Usage, "hive-not-found", format!("there is no {what}"))
        .hint("guestfix hive get FILE shows what exists")
}

fn get(
    context: &Context<'_>,
    file: &Path,
    dirty: Dirty,
    path: &str,
    name: Option<&str>,
) -> Result<HiveDocument> {
    let opened = pipeline::read_hive(context, file, dirty)?;
    let key = opened.key(path)?;
    let key = key.ok_or_else(|| missing(format!("key {path:?}")))?;
    let mut document = about(file, opened.recovery());
    if let Some(name) = name {
        let value = key.value(name)?;
        let value = value.ok_or_else(|| missing(format!("value {name:?}")))?;
        document.values = Some(vec![view(&value)?]);
        return Ok(document);
    }
    let subkeys = key.subkeys()?.map(|sub| sub?.name());
    document.subkeys = Some(subkeys.collect::<Result<_>>()?);
    let values = key.values()?.map(|value| view(&value?));
    document.values = Some(values.collect::<Result<_>>()?);
    Ok(document)
}

fn view(value: &Value<'_>) -> Result<ValueView> {
    Ok(ValueView {
        name: value.name()?,
        kind: value.kind()?.name().into_owned(),
        data: hive::data_text(value)?,
    })
}

fn set(
    context: &Context<'_>,
    file: &Path,
    dirty: Dirty,
    key: &str,
    value: Option<(&str, &str)>,
) -> Result<HiveDocument> {
    let value = value
        .map(|(name, data)| data_of(data).map(|(kind, data)| (name, kind, data)))
        .transpose()?;
    edited(context, file, dirty, |edit| {
        edit.create_key(key)?;
        match &value {
            Some((name, kind, data)) => edit.set_value(key, name, *kind, data),
            None => Ok(()),
        }
    })
}

fn delete(
    context: &Context<'_>,
    file: &Path,
    dirty: Dirty,
    key: &str,
    name: Option<&str>,
) -> Result<HiveDocument> {
    edited(context, file, dirty, |edit| {
        match name {
            Some(name) => edit.delete_value(key, name)?,
            None => edit.delete_key(key)?,
        };
        Ok(())
    })
}

fn edited(
    context: &Context<'_>,
    file: &Path,
    dirty: Dirty,
    edit: impl FnOnce(&mut hive::Editor<'_>) -> Result<()>,
) -> Result<HiveDocument> {
    let done = pipeline::edit_hive(context, file, dirty, edit)?;
    Ok(HiveDocument {
        changed: Some(done.changed),
        undo: done.undo,
        ..about(file, &done.recovery)
    })
}

/// Data as the command line gives it.
fn data_of(text: &str) -> Result<(ValueType, Vec<u8>)> {
    let given = match text.split_once(':') {
        Some(("sz", text)) => Some((ValueType::SZ, typed::string_data(text))),
        Some(("expand-sz", text)) => Some((ValueType::EXPAND_SZ, typed::string_data(text))),
        Some(("multi-sz", text)) => {
            let texts: Vec<&str> = text.split('|').collect();
            Some((ValueType::MULTI_SZ, typed::multi_string_data(&texts)))
        }
        _ => hive::parse_data(text),
    };
    given.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            "hive-data",
            format!("{text:?} is no data of a value"),
        )
        .hint("sz:TEXT, expand-sz:TEXT, multi-sz:A|B, dword:HEX, hex:01,02 or hex(TYPE):01,02")
    })
}

fn render(document: &HiveDocument) -> String {
    let mut out = String::new();
    if let Some(text) = &document.text {
        return text.clone();
    }
    match &document.recovery {
        Recovery::Clean => {}
        Recovery::Replayed { entries, .. } => {
            let _ = writeln!(out, "; the hive was dirty; replayed {entries} log entries");
        }
        Recovery::Unrecovered { why } => {
            let _ = writeln!(
                out,
                "; WARNING: the hive is dirty, its last writes are lost: {why}"
            );
        }
    }
    for name in document.subkeys.iter().flatten() {
        let _ = writeln!(out, "[{name}]");
    }
    for value in document.values.iter().flatten() {
        let _ = writeln!(out, "{:?}={}  ; {}", value.name, value.data, value.kind);
    }
    for difference in document.differences.iter().flatten() {
        let name = difference.value.as_ref().map(|name| format!(" {name:?}"));
        let name = name.unwrap_or_default();
        for (sign, text) in [("-", &difference.old), ("+", &difference.new)] {
            if let Some(text) = text {
                let _ = writeln!(out, "{sign} [{}]{name} {text}", difference.key);
            }
        }
    }
    if let Some(summary) = &document.summary {
        render_summary(summary, &mut out);
    }
    match document.changed {
        Some(true) => {
            let file = document.file.display();
            let _ = writeln!(out, "Changed. To take it back: guestfix undo {file}");
        }
        Some(false) => out.push_str("Already so; nothing was written.\n"),
        None => {}
    }
    out
}

fn render_summary(summary: &Summary, out: &mut String) {
    let _ = writeln!(
        out,
        "{} keys, {} values, {} bytes of data, {} security descriptors",
        summary.keys, summary.values, summary.data, summary.descriptors
    );
    for finding in &summary.findings {
        let _ = writeln!(out, "odd, at byte {:#x}: {}", finding.offset, finding.what);
    }
}
