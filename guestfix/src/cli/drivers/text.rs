// SPDX-License-Identifier: Apache-2.0
//! The table for people.

use std::fmt::Write as _;

use drivers::Product;

use super::{DriverView, DriversDocument, NoteView, OtherView, PickedView, SignatureView};

/// The whole bundle, and the picks below it.
pub(super) fn render(document: &DriversDocument) -> String {
    let mut drivers: Vec<&DriverView> = document.drivers.iter().collect();
    drivers.sort_by_cached_key(|driver| {
        let folder = driver.folder.as_deref().and_then(Product::of_folder);
        (
            driver.roles.is_empty(),
            name(driver).to_lowercase(),
            folder,
            driver.archs.clone(),
        )
    });
    let mut rows: Vec<[String; 7]> = drivers.into_iter().map(row).collect();
    let head = [
        "driver",
        "role",
        "release",
        "arch",
        "version",
        "signed by",
        "notes",
    ];
    rows.insert(0, head.map(str::to_owned));
    let mut out = table(&rows);
    for damaged in &document.damaged {
        let _ = writeln!(out, "cannot be read: {}: {}", damaged.inf, damaged.why);
    }
    for agent in &document.guest_agents {
        let _ = writeln!(out, "guest agent: {agent}");
    }
    out.push_str(
        "\nA signer is named, not trusted: guestfix holds no roots of Microsoft's and cannot ask \
         one.\n",
    );
    if let Some(picked) = &document.picked {
        out.push_str(&picks(picked));
    }
    out
}

/// The last part of its path.
fn name(driver: &DriverView) -> &str {
    driver.inf.rsplit('/').next().unwrap_or_default()
}

fn row(driver: &DriverView) -> [String; 7] {
    let mut notes: Vec<&str> = driver.notes.iter().map(|note| note.id.as_str()).collect();
    notes.dedup();
    let mut notes = notes.join(", ");
    if let Some(problem) = &driver.problem {
        notes = format!("UNUSABLE: {problem}");
    }
    let or_dash = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    [
        name(driver).to_owned(),
        or_dash(driver.roles.join(" ")),
        driver.folder.clone().unwrap_or_else(|| "-".to_owned()),
        or_dash(driver.archs.join(" ")),
        driver.version.clone(),
        driver
            .signature
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), signer),
        notes,
    ]
}

fn signer(signature: &SignatureView) -> String {
    let SignatureView {
        signer,
        digest,
        check,
        ..
    } = signature;
    match check.as_str() {
        "broken" => format!("{signer} (BROKEN)"),
        _ => format!("{signer} ({digest})"),
    }
}

/// Columns as wide as their widest cell; the last one ends where its text does.
fn table(rows: &[[String; 7]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn picks(picked: &PickedView) -> String {
    let mut out = format!("\nfor {}:\n", picked.release);
    for pick in &picked.picks {
        let _ = writeln!(out, "{:10} {}  {}", pick.role, pick.inf, pick.version);
        let _ = writeln!(out, "{:10}   because {}", "", pick.reason);
        for note in &pick.notes {
            let _ = writeln!(out, "{:10}   {}", "", mark(note));
        }
        for other in &pick.rejected {
            let _ = writeln!(out, "{:10}   not {}", "", sentence(other));
        }
    }
    for missing in &picked.missing {
        let _ = writeln!(out, "{:10} none: {}", missing.role, missing.why);
        for other in &missing.rejected {
            let _ = writeln!(out, "{:10}   not {}", "", sentence(other));
        }
    }
    match &picked.guest_agent {
        Some(agent) => {
            let _ = writeln!(out, "{:10} {agent}", "agent");
        }
        None => {
            out.push_str("agent      none: the bundle has no installer of QEMU's guest agent\n")
        }
    }
    if !picked.bootable {
        out.push_str("\nNot ready: no disk driver that somebody vouches for.\n");
    }
    out
}

fn mark(note: &NoteView) -> String {
    if note.critical {
        format!("CRITICAL: {}", note.message)
    } else {
        note.message.clone()
    }
}

fn sentence(other: &OtherView) -> String {
    format!("{}: {}", other.inf, other.why)
}
