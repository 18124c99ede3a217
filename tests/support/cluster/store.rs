// SPDX-License-Identifier: Apache-2.0
//! A collection as it is now, kept up to date by a watch.

use super::http;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The objects of one collection, by uid.
#[derive(Debug, Clone)]
pub(super) struct Store {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    stopped: Arc<AtomicBool>,
}

impl Store {
    /// Watches the collection `path` through the proxy at `socket` until stopped.
    pub(super) fn watch(socket: &Path, path: &'static str) -> Self {
        let store = Self {
            objects: Arc::default(),
            stopped: Arc::default(),
        };
        let (socket, thread) = (PathBuf::from(socket), store.clone());
        std::thread::spawn(move || {
            while !thread.stopped.load(Ordering::Relaxed) {
                // The server may be away for a while: that is what some tests are about.
                if thread.follow(&socket, path).is_err() {
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        });
        store
    }

    /// No more news.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The objects of which this holds.
    pub(super) fn some(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        objects
            .values()
            .filter(|one| wanted(one))
            .cloned()
            .collect()
    }

    fn follow(&self, socket: &Path, path: &str) -> std::io::Result<()> {
        let listed = http::send(socket, "GET", path, None)?;
        if listed.status != 200 {
            return Err(std::io::Error::other("not listed"));
        }
        let list: Value = serde_json::from_slice(&listed.whole()?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        *self.objects.lock().unwrap() = items.into_iter().map(|one| (uid(&one), one)).collect();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("");
        let path = format!("{path}?watch=true&timeoutSeconds=50&resourceVersion={version}");
        let mut events = http::send(socket, "GET", &path, None)?;
        let mut pending = Vec::new();
        while events.chunk(&mut pending)? {
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if !self.take(serde_json::from_slice(&line)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False when the watch is of no more use.
    fn take(&self, mut event: Value) -> bool {
        let object = event["object"].take();
        let mut objects = self.objects.lock().unwrap();
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => {
                objects.insert(uid(&object), object);
            }
            Some("DELETED") => {
                objects.remove(&uid(&object));
            }
            _ => return false,
        }
        !self.stopped.load(Ordering::Relaxed)
    }
}

/// An object's identity.
pub(super) fn uid(object: &Value) -> String {
    text(object, "/metadata/uid").to_owned()
}

/// A string in an object, empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}
