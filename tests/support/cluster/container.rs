// SPDX-License-Identifier: Apache-2.0
//! Init containers of images that were laid ready. Our own image is this machine: its programs run
//! here, with the paths of volumes turned into those of this machine. Any other is a root of its own,
//! with nothing but its files and the container's mounts.

use super::agent;
use super::store::text;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root, user, pairs of what is mounted and where, `--`, and the command.
const ENTER: &str = r#"
root=$1 user=$2; shift 2
while [ "$1" != -- ]; do mkdir -p "$root$2" && mount --bind "$1" "$root$2" || exit; shift 2; done; shift
exec chroot --userspec="$user" "$root" "$@"
"#;

/// Makes an emptyDir where the kubelet keeps it, for everybody to write to.
pub(super) fn empty_dir(root: &Path, pod: &str, name: &str) -> Result<(), String> {
    let dir = place(&root.join("pods").join(pod), name);
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)))
        .map_err(|e| format!("{}: {e}", dir.display()))
}

fn place(pod: &Path, volume: &str) -> PathBuf {
    pod.join("volumes/kubernetes.io~empty-dir").join(volume)
}

/// Runs one to its end; `image` is the root of its image, `dir` the pod's directory.
pub(super) fn run(pod: &Value, one: &Value, image: &Path, dir: &Path) -> Result<(), String> {
    let words = one["command"].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    let (program, args) = words.split_first().ok_or("a container without a command")?;
    let mounts = one["volumeMounts"].as_array().into_iter().flatten();
    let mounts = mounts.map(|mount| (place(dir, text(mount, "/name")), text(mount, "/mountPath")));
    let mut command = if program.starts_with('/') {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", ENTER, "init"]);
        command.arg(image).arg(user(pod, one));
        for (from, to) in mounts {
            command.arg(from).arg(to);
        }
        command.arg("--").args(&words);
        command
    } else {
        let mounts: Vec<_> = mounts.collect();
        let here = args.iter().map(|word| {
            let found = mounts.iter().find(|(_, to)| to == word);
            found.map_or_else(|| PathBuf::from(word), |(from, _)| from.clone())
        });
        let mut command = Command::new(agent::binary());
        command.args(here);
        command
    };
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    (out.status.success().then_some(())).ok_or_else(|| format!("{}: {said}", text(one, "/name")))
}

/// As chroot(1) wants it said.
fn user(pod: &Value, one: &Value) -> String {
    let id = |key: &str| {
        let own = one["securityContext"][key].as_u64();
        own.or(pod["spec"]["securityContext"][key].as_u64())
            .unwrap_or(0)
    };
    format!("{}:{}", id("runAsUser"), id("runAsGroup"))
}
