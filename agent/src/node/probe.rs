// SPDX-License-Identifier: Apache-2.0
//! What this node can mount, as `guestfix host` sees it.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

/// The filesystems that this node can mount, or that its kernel has a module for.
///
/// # Errors
/// When the program cannot be run, or says nothing: a node that cannot is better not ready.
pub async fn filesystems(program: &Path) -> Result<Vec<String>, String> {
    let shown = program.display();
    let output = Command::new(program)
        .args(["host", "--format", "json"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .await
        .map_err(|e| format!("{shown}: {e}"))?;
    let document: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("{shown} host ended with {}: {e}", output.status))?;
    let mut found = mountable(&document);
    if document
        .pointer("/ntfs_3g")
        .is_some_and(|path| !path.is_null())
    {
        found.push("ntfs".to_owned());
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn mountable(document: &Value) -> Vec<String> {
    let all = document.pointer("/filesystems").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(|fs| {
            let driver = fs
                .pointer("/driver")
                .and_then(Value::as_str)
                .unwrap_or_default();
            matches!(driver.to_ascii_lowercase().as_str(), "loaded" | "module")
        })
        .filter_map(|fs| {
            fs.pointer("/name")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })
        .collect()
}
