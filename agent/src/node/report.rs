// SPDX-License-Identifier: Apache-2.0
//! The full report on its way to the controller: redacted, gzipped, in base64.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// How long the text may be: with the rest, a status stays below 64 KiB.
const MOST: usize = 32 << 10;

/// Packs a document; one that is too long loses its longest lists, and says so.
pub fn pack(document: &Value) -> Option<String> {
    if !document.is_object() {
        return None;
    }
    let mut document = document.clone();
    redact(&mut document);
    let mut packed = gzip(&document)?;
    for list in ["/changes", "/verdicts", "/kernels", "/volumes", "/concerns"] {
        if packed.len() <= MOST {
            break;
        }
        if let Some(items) = document.pointer_mut(list) {
            *items = json!([{"left_out": "the report is longer than a status may be"}]);
        }
        packed = gzip(&document)?;
    }
    (packed.len() <= MOST).then_some(packed)
}

/// Takes out diffs of files that are not world-readable in the guest: a ConfigMap is read by more
/// people.
fn redact(document: &mut Value) {
    let changes = document
        .pointer_mut("/changes")
        .and_then(Value::as_array_mut);
    for change in changes.into_iter().flatten() {
        if change.get("world_readable") == Some(&Value::Bool(true)) {
            continue;
        }
        if let Some(diff) = change.get_mut("diff").filter(|diff| diff.is_string()) {
            *diff = "redacted: run guestfix plan on the disks to see it".into();
        }
    }
}

fn gzip(document: &Value) -> Option<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let text = serde_json::to_vec(document).ok()?;
    encoder.write_all(&text).ok()?;
    let bytes = ByteString(encoder.finish().ok()?);
    serde_json::to_value(bytes)
        .ok()?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn unpack(text: &str) -> Value {
        let bytes: ByteString = serde_json::from_value(json!(text)).unwrap();
        let mut out = String::new();
        GzDecoder::new(bytes.0.as_slice())
            .read_to_string(&mut out)
            .unwrap();
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn diffs_of_what_not_everybody_may_read_do_not_leave_the_node() {
        let document = json!({"schema": "guestfix.io/plan/v1", "changes": [
            {"path": "/etc/shadow", "diff": "-root:secret"},
            {"path": "/etc/netplan/a", "diff": "-psk: secret", "world_readable": false},
            {"path": "/x", "diff": null},
            {"path": "/etc/fstab", "diff": "-/dev/sda1", "world_readable": true},
        ]});
        let seen = unpack(&pack(&document).unwrap());
        assert!(!seen.to_string().contains("secret"));
        assert_eq!(seen.pointer("/changes/2/diff"), Some(&Value::Null));
        assert_eq!(
            seen.pointer("/changes/3/diff"),
            document.pointer("/changes/3/diff")
        );
    }

    #[test]
    fn a_report_that_is_too_long_says_so() {
        let mut noise = 1_u64;
        let mut word = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            format!("{noise:x}")
        };
        let changes: Vec<Value> = (0..20_000).map(|_| json!({"path": word()})).collect();
        let packed = pack(&json!({"schema": "x", "changes": changes, "concerns": []})).unwrap();
        assert!(packed.len() <= MOST);
        assert!(unpack(&packed).pointer("/changes/0/left_out").is_some());
    }
}
