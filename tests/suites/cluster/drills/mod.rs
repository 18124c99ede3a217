// SPDX-License-Identifier: Apache-2.0
//! What goes wrong on a cluster, and how it has to end: finished, the disk old or new.

mod agents;
mod claims;
mod deleting;
mod held;
mod nodes;
mod server;

use super::conversion::{condition, finished, only, small};
use held::{At, Held};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tests::cluster::Cluster;
use tests::cluster::agent::Agent;
use tests::cluster::api::Answer;
use tests::cluster::import::Import;
use tests::cluster::install::the_run;
use tests::digest::content_digest;

const NODE: &str = "only";
const MINUTE: Duration = Duration::from_secs(60);
/// For what takes a moment on a machine that has nothing else to do.
const LONG: Duration = Duration::from_secs(300);

/// A cluster of one node for one drill at a time: drills stop what others need.
struct Ground {
    cluster: Cluster,
    image: PathBuf,
    old: String,
    _dir: tempfile::TempDir,
}

fn ground() -> MutexGuard<'static, Ground> {
    static ONE: OnceLock<Mutex<Ground>> = OnceLock::new();
    let ground = ONE.get_or_init(|| {
        let cluster = Cluster::start();
        cluster.kubelets().add(NODE);
        cluster.install();
        let dir = tempfile::tempdir().unwrap();
        let image = small(dir.path());
        Mutex::new(Ground {
            cluster,
            old: content_digest(&image),
            image,
            _dir: dir,
        })
    });
    ground
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Ground {
    /// One that keeps its Lease also where the API server is slow: nobody starts it again.
    fn controller(&self) -> Agent {
        self.cluster.run_controller(&["--lease-seconds", "30"])
    }

    fn node(&self) -> Agent {
        self.cluster.run_node(NODE, &[])
    }

    /// An agent with this `guestfix`.
    fn node_with(&self, program: &Path) -> Agent {
        let options = ["--guestfix", program.to_str().unwrap()];
        self.cluster.run_node(NODE, &options)
    }

    /// A conversion of an imported disk, with more in its spec.
    fn begin(&self, space: &str, more: Value) -> Import<'_> {
        let import = self.cluster.import(space, "root", &json!({}));
        import.succeed(&self.image);
        self.cluster.conversion(space, "run", &["root"], more);
        import
    }

    /// One that has reached `phase`.
    fn reached(&self, space: &str, phase: &str) -> Import<'_> {
        let import = self.begin(space, json!({}));
        let reached = |one: &Value| one["status"]["phase"] == phase || finished(one);
        only(&self.cluster, space, reached);
        import
    }

    /// The conversion as it is now.
    fn run(&self, space: &str) -> Value {
        self.cluster.admin().get(&the_run(space)).unwrap()
    }

    /// It is as it was before.
    fn is_old(&self, import: &Import<'_>) -> bool {
        content_digest(&import.disk()) == self.old
    }

    /// It has ended: new where it is Ready, else old.
    fn ends(&self, space: &str, import: &Import<'_>) -> Value {
        let done = only(&self.cluster, space, finished);
        let ready = condition(&done, "Ready").map(|c| c.0) == Some("True");
        assert_ne!(ready, self.is_old(import), "{done:#}");
        done
    }

    fn ends_ready(&self, space: &str, import: &Import<'_>) -> Value {
        let done = self.ends(space, import);
        assert_eq!(
            condition(&done, "Ready").map(|c| c.0),
            Some("True"),
            "{done:#}"
        );
        done
    }

    /// A conversion that is held up there, in a namespace that begins so.
    fn held(&self, begins: &str, at: At, more: Value) -> Standing<'_> {
        let held = Held::at(at);
        let (controller, node) = (self.controller(), self.node_with(&held.program()));
        let space = self.cluster.namespace(begins);
        let import = self.begin(&space, more);
        held.wait();
        Standing {
            space,
            import,
            held,
            node,
            _controller: controller,
        }
    }

    /// One whose agent was killed when its commit was cut at `point`.
    fn cut_and_killed(&self, space: &str, node: &str, point: &str) -> Import<'_> {
        let cut = Cut::at(point);
        let program = cut.program.to_str().unwrap();
        let options = ["--lease-seconds", "10", "--guestfix", program];
        let mut agent = self.cluster.run_node(node, &options);
        let import = self.begin(space, json!({}));
        held::appears(&cut.mark);
        agent.process().kill();
        import
    }
}

/// A conversion that is held up, and who works on it.
struct Standing<'a> {
    space: String,
    import: Import<'a>,
    held: Held,
    node: Agent,
    _controller: Agent,
}

impl Standing<'_> {
    /// The conversion's path.
    fn path(&self) -> String {
        the_run(&self.space)
    }
}

/// The holder pod of a namespace's conversion.
fn holder(space: &str) -> String {
    format!("/api/v1/namespaces/{space}/pods/guestfix-hold-run")
}

/// Something when it is there no more.
fn gone(answer: &Answer) -> Option<()> {
    matches!(answer, Err(refused) if refused.code == 404).then_some(())
}

/// Waits until an agent's log has the words.
fn says(agent: &Agent, words: &str) {
    let end = Instant::now() + LONG;
    while !agent.log().contains(words) {
        assert!(Instant::now() < end, "no {words:?} in {}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A `guestfix` that dies at a point of its commit and leaves a mark where it did; its agent hears of it only when that
/// is dead, too.
struct Cut {
    program: PathBuf,
    mark: PathBuf,
    _dir: tempfile::TempDir,
}

impl Cut {
    fn at(point: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (program, mark) = (dir.path().join("guestfix"), dir.path().join("mark"));
        let script = format!(
            "#!/bin/sh\n\
             GUESTFIX_FAULT={point} {} \"$@\"\n\
             code=$?\n\
             if [ $code -ge 128 ]; then\n\
             : >{}\n\
             while kill -0 $PPID 2>/dev/null; do sleep 0.1; done\n\
             fi\n\
             exit $code\n",
            tests::cli::binary().display(),
            mark.display()
        );
        tests::tool::script(&program, &script);
        Self {
            program,
            mark,
            _dir: dir,
        }
    }
}
