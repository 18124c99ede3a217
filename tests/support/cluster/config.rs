// SPDX-License-Identifier: Apache-2.0
//! The files that the control plane is started with: tokens, keys, policies, kubeconfigs.

use crate::tool;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Who has a token from the start: its user, and its groups.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
];

/// Every request that changes something or is refused, with who asked.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
"rules": [{"level": "None", "users": ["admin", "system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"]},
{"level": "Metadata"}]}"#;

/// Writes tokens, the key that signs accounts' tokens, and the audit policy into `dir`.
pub(super) fn write(dir: &Path) {
    let mut tokens = String::new();
    for (name, user, groups) in USERS {
        let token = tool::run("openssl", &["rand", "-hex", "24"]);
        let token = token.trim_end();
        tokens.push_str(&format!("{token},{user},{name},\"{groups}\"\n"));
        std::fs::write(dir.join(format!("{name}.token")), token).unwrap();
    }
    std::fs::write(dir.join("tokens.csv"), tokens).unwrap();
    let key = dir.join("accounts.key");
    tool::run(
        "openssl",
        &["genrsa", "-out", key.to_str().unwrap(), "2048"],
    );
    std::fs::write(dir.join("audit.json"), AUDIT).unwrap();
}

/// The token that `name` has from the start.
pub(super) fn token(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(format!("{name}.token"))).unwrap()
}

/// Writes a kubeconfig (JSON is YAML) for a token into `dir`.
pub(super) fn kubeconfig(dir: &Path, port: u16, name: &str, token: &str) -> PathBuf {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            // Made by the API server itself when it first starts: its certificate and the CA's.
            "certificate-authority": dir.join("serving/apiserver.crt"),
        }}],
        "users": [{"name": "test", "user": {"token": token}}],
    });
    let path = dir.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
    path
}
