// SPDX-License-Identifier: Apache-2.0
//! Metrics, in Prometheus' names and base units.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// How a conversion ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct End {
    /// `succeeded`, `failed` or `cancelled`.
    pub result: String,
    /// The Ready condition's reason.
    pub reason: String,
    /// `linux`, `windows` or `unknown`.
    pub os_family: String,
}

/// A step of the work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Step {
    /// `inspect`, `plan`, `apply`, `verify`, `commit` or `total`.
    pub step: String,
}

/// A concern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct About {
    /// Its identifier.
    pub id: String,
    /// `Critical`, `Warning` or `Information`.
    pub category: String,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct How {
    /// How it went.
    pub result: String,
}

/// Which verb of the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// What was done, in the brain's words.
    pub action: String,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Conversions that ended.
    pub conversions: Family<End, Counter>,
    /// Seconds that each step took.
    pub duration: Family<Step, Histogram>,
    /// Conversions being worked on here.
    pub in_progress: Gauge,
    /// Concerns seen.
    pub concerns: Family<About, Counter>,
    /// Bytes of disks that were changed.
    pub bytes_written: Counter<u64, AtomicU64>,
    /// Undos that ended.
    pub rollbacks: Family<How, Counter>,
    /// What the controller did.
    pub actions: Family<Call, Counter>,
    /// Seconds that deciding and doing took, each time.
    pub reconcile: Histogram,
    /// Reconciliations that ended in an error.
    pub errors: Counter,
}

impl Metrics {
    /// All at zero. `role` is `controller` or `node`.
    pub fn new(role: &str) -> Self {
        let mut registry = Registry::default();
        let this = Self {
            conversions: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.05, 2.0, 16))
            }),
            in_progress: Gauge::default(),
            concerns: Family::default(),
            bytes_written: Counter::default(),
            rollbacks: Family::default(),
            actions: Family::default(),
            reconcile: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            errors: Counter::default(),
            registry: Registry::default(),
        };
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("role", role.to_owned()),
        ]);
        registry.register("guestfix_build", "What is running", build);
        this.register(&mut registry);
        Self { registry, ..this }
    }

    fn register(&self, to: &mut Registry) {
        to.register(
            "guestfix_conversions",
            "Conversions that ended",
            self.conversions.clone(),
        );
        to.register(
            "guestfix_conversion_duration_seconds",
            "How long each step took",
            self.duration.clone(),
        );
        to.register(
            "guestfix_conversions_in_progress",
            "Conversions being worked on",
            self.in_progress.clone(),
        );
        to.register("guestfix_concerns", "Concerns seen", self.concerns.clone());
        to.register(
            "guestfix_bytes_written",
            "Bytes of disks that were changed",
            self.bytes_written.clone(),
        );
        to.register(
            "guestfix_rollbacks",
            "Undos that ended",
            self.rollbacks.clone(),
        );
        to.register(
            "guestfix_actions",
            "What the controller did",
            self.actions.clone(),
        );
        to.register(
            "guestfix_reconcile_duration_seconds",
            "How long deciding and doing took",
            self.reconcile.clone(),
        );
        to.register(
            "guestfix_reconcile_errors",
            "Reconciliations that ended in an error",
            self.errors.clone(),
        );
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
