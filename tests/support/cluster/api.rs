// SPDX-License-Identifier: Apache-2.0
//! The API server as one account sees it: JSON in, JSON out, through a `kubectl proxy` on a socket
//! that only this user can open.

use super::http;
use super::program::{self, Process};
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The merge of RFC 7396.
pub const MERGE: &str = "application/merge-patch+json";
/// Server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// One account's view.
#[derive(Debug)]
pub struct Api {
    socket: PathBuf,
    kubeconfig: PathBuf,
    proxy: Process,
}

/// What the API server refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// 403, 404, 409, 422, ...
    pub code: u16,
    /// In its words.
    pub message: String,
}

/// An answer of the API server.
pub type Answer = Result<Value, Refused>;

impl Api {
    /// A proxy with the credentials of `kubeconfig`; its socket and log lie in `dir`.
    pub(super) fn new(dir: &Path, kubeconfig: PathBuf) -> Self {
        let name = kubeconfig.file_stem().unwrap().to_str().unwrap().to_owned();
        let socket = dir.join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&socket);
        let proxy = Process::start(
            Command::new(program::find("kubectl"))
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(["proxy", "--disable-filter", "--unix-socket"])
                .arg(&socket),
            dir.join(format!("{name}.proxy.log")),
        );
        let end = Instant::now() + Duration::from_secs(60);
        // Its socket is there a moment before it listens.
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < end, "no proxy: {}", proxy.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            socket,
            kubeconfig,
            proxy,
        }
    }

    /// The proxy's process.
    pub(super) fn process(&self) -> u32 {
        self.proxy.id()
    }

    /// Where the proxy listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file that names the server and this account's token.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Any request.
    ///
    /// # Errors
    /// What the server refused; 0 and the reason when it did not answer.
    pub fn request(&self, method: &str, path: &str, content: Option<(&str, &Value)>) -> Answer {
        let body = content.map(|(kind, value)| (kind, value.to_string()));
        let body = body.as_ref().map(|(kind, text)| (*kind, text.as_bytes()));
        let lost = |error: std::io::Error| Refused {
            code: 0,
            message: error.to_string(),
        };
        let response = http::send(&self.socket, method, path, body).map_err(lost)?;
        let code = response.status;
        let bytes = response.whole().map_err(lost)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::String(text));
        if (200..300).contains(&code) {
            return Ok(value);
        }
        let message = value["message"].as_str().map(str::to_owned);
        Err(Refused {
            code,
            message: message.unwrap_or_else(|| value.to_string()),
        })
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None)
    }

    /// Makes an object in the collection `path`.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub fn create(&self, path: &str, object: &Value) -> Answer {
        self.request("POST", path, Some(("application/json", object)))
    }

    /// Merges into an object.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.request("PATCH", path, Some((MERGE, patch)))
    }

    /// Applies fields as `manager`, taking them from others.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub fn apply(&self, path: &str, manager: &str, object: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.request("PATCH", &path, Some((APPLY, object)))
    }

    /// Deletes an object; `grace` in seconds.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub fn delete(&self, path: &str, grace: Option<u32>) -> Answer {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace});
        self.request("DELETE", path, Some(("application/json", &options)))
    }

    /// Asks until `found` says what was looked for.
    ///
    /// # Panics
    /// When that takes longer than `most`; it says what was there last.
    pub fn wait<T>(&self, path: &str, most: Duration, found: impl Fn(&Answer) -> Option<T>) -> T {
        let end = Instant::now() + most;
        loop {
            let answer = self.get(path);
            if let Some(value) = found(&answer) {
                return value;
            }
            assert!(Instant::now() < end, "{path} stays {answer:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs kubectl with this account's credentials.
    pub fn kubectl(&self, args: &[&str]) -> std::process::Output {
        Command::new(program::find("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .output()
            .unwrap()
    }
}
