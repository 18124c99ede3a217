// SPDX-License-Identifier: Apache-2.0
//! The agent's own processes, with the accounts that the manifests give them.

use super::Cluster;
use super::install::NAMESPACE;
use super::plane::free_port;
use super::program::Process;
use super::wire::Wire;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A controller or a node agent that runs. Dropped, it gets SIGTERM and time to finish.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    port: u16,
}

impl Agent {
    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not for minutes.
    pub fn wait_until_ready(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(180);
        while !self
            .get("/readyz")
            .is_ok_and(|answer| answer.contains(" 200 "))
        {
            assert!(std::time::Instant::now() < end, "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What it answers to a GET of `path`, with the status line.
    pub fn get(&self, path: &str) -> std::io::Result<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// The built `guestfix-agent`: `GUESTFIX_AGENT_BIN`, or beside the tests' own directory.
pub fn binary() -> PathBuf {
    std::env::var_os("GUESTFIX_AGENT_BIN").map_or_else(
        || crate::cli::binary().with_file_name("guestfix-agent"),
        PathBuf::from,
    )
}

impl Cluster {
    /// Starts a controller.
    pub fn run_controller(&self, more: &[&str]) -> Agent {
        let pod = self.component_pod("controller", None);
        let mut command = Command::new(binary());
        command
            .args(["controller", "--namespace", NAMESPACE, "--identity", &pod])
            .args(["--holder-image", "guestfix-agent:test"]);
        self.run_agent(command, ("guestfix-controller", &pod), None, more)
    }

    /// Starts the node agent of `node`.
    pub fn run_node(&self, node: &str, more: &[&str]) -> Agent {
        self.run_node_by(node, None, more)
    }

    /// The same, by a way of its own to the API server.
    pub fn run_node_by(&self, node: &str, wire: Option<&Wire>, more: &[&str]) -> Agent {
        let pod = self.component_pod("node", Some(node));
        let state = self.kubelets().root(node).with_extension("state");
        std::fs::create_dir_all(&state).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["node", "--node-name", node, "--namespace", NAMESPACE])
            .arg("--kubelet-root")
            .arg(self.kubelets().root(node))
            .arg("--state-dir")
            .arg(state);
        if !more.contains(&"--guestfix") {
            command.arg("--guestfix").arg(crate::cli::binary());
        }
        if !more.contains(&"--identity") {
            command.args(["--identity", &pod]);
        }
        self.run_agent(command, ("guestfix-node", &pod), wire, more)
    }

    fn run_agent(
        &self,
        mut command: Command,
        (account, pod): (&str, &str),
        wire: Option<&Wire>,
        more: &[&str],
    ) -> Agent {
        let port = free_port();
        let server = wire.map_or_else(|| self.plane.lock().unwrap().port(), Wire::port);
        let kubeconfig = self.kubeconfig(NAMESPACE, account, Some(pod), server);
        command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(more)
            .env("KUBECONFIG", &kubeconfig)
            .env("POD_NAME", pod);
        let process = Process::start(&mut command, log(self.dir(), &kubeconfig));
        self.janitor.ends(process.id());
        Agent { process, port }
    }
}

fn log(dir: &Path, kubeconfig: &Path) -> PathBuf {
    let name = kubeconfig.file_stem().unwrap().to_str().unwrap();
    dir.join(format!("{name}.agent.log"))
}
