// SPDX-License-Identifier: Apache-2.0
//! etcd, API server, controllers and scheduler, as released, on loopback.

use super::config;
use super::janitor::Janitor;
use super::program::{self, Process};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Nobody else asks this API server: what a controller may ask of it per second need not be rationed.
const QPS: &str = "--kube-api-qps=500";
const BURST: &str = "--kube-api-burst=1000";

/// The four programs of a control plane.
#[derive(Debug)]
pub(super) struct Plane {
    dir: PathBuf,
    port: u16,
    etcd_port: u16,
    // In the order in which they are to end.
    scheduler: Option<Process>,
    controllers: Option<Process>,
    server: Option<Process>,
    etcd: Option<Process>,
}

impl Plane {
    /// Starts etcd and the API server and waits until that is ready; then the others.
    pub(super) fn start(dir: &Path, janitor: &Janitor) -> Self {
        config::write(dir);
        let mut plane = Self {
            dir: dir.to_path_buf(),
            port: free_port(),
            etcd_port: free_port(),
            scheduler: None,
            controllers: None,
            server: None,
            etcd: None,
        };
        plane.etcd = Some(plane.start_etcd());
        plane.server = Some(plane.start_server());
        plane.wait_until_ready(Duration::from_secs(180));
        plane.controllers = Some(plane.start_client(
            "kube-controller-manager",
            "controllers",
            &[
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                "--node-monitor-grace-period=20s",
                "--secure-port=0",
                QPS,
                BURST,
            ],
        ));
        plane.scheduler = Some(plane.start_client(
            "kube-scheduler",
            "scheduler",
            &["--leader-elect=false", "--secure-port=0", QPS, BURST],
        ));
        for process in [
            &plane.etcd,
            &plane.server,
            &plane.controllers,
            &plane.scheduler,
        ] {
            janitor.ends(process.as_ref().unwrap().id());
        }
        plane
    }

    /// A program that has ended, with what it said.
    pub(super) fn ended(&mut self) -> Option<String> {
        let all = [
            &mut self.etcd,
            &mut self.server,
            &mut self.controllers,
            &mut self.scheduler,
        ];
        let mut ended = all.into_iter().flatten().filter_map(|process| {
            let log = process.log();
            (!process.runs()).then_some(log)
        });
        ended.next()
    }

    /// Where the API server listens on loopback.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A kubeconfig `name` for one who has a token from the start.
    pub(super) fn kubeconfig(&self, name: &str, account: &str) -> PathBuf {
        let token = config::token(&self.dir, account);
        config::kubeconfig(&self.dir, self.port, name, &token)
    }

    /// Ends the API server, as a machine that fails does.
    pub(super) fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it again, with what etcd kept.
    pub(super) fn start_server_again(&mut self, janitor: &Janitor) {
        let server = self.start_server();
        janitor.ends(server.id());
        self.server = Some(server);
        self.wait_until_ready(Duration::from_secs(180));
    }

    fn start_etcd(&self) -> Process {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        Process::start(
            Command::new(program::find("etcd"))
                .arg(format!("--data-dir={}", self.dir.join("etcd").display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={client}"))
                .arg(format!(
                    "--listen-peer-urls=http://127.0.0.1:{}",
                    free_port()
                ))
                .arg("--unsafe-no-fsync"),
            self.dir.join("etcd.log"),
        )
    }

    fn start_server(&self) -> Process {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let key = file("accounts.key");
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("serving")),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--anonymous-auth=false".to_owned(),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            format!("--audit-policy-file={}", file("audit.json")),
            format!("--audit-log-path={}", file("audit.log")),
        ];
        Process::start(
            Command::new(program::find("kube-apiserver")).args(arguments),
            self.dir.join("kube-apiserver.log"),
        )
    }

    fn start_client(&self, name: &str, account: &str, more: &[&str]) -> Process {
        let token = config::token(&self.dir, account);
        let kubeconfig = config::kubeconfig(&self.dir, self.port, account, &token);
        let mut command = Command::new(program::find(name));
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(more);
        if name == "kube-controller-manager" {
            let file = |name: &str| self.dir.join(name).display().to_string();
            command
                .arg(format!(
                    "--service-account-private-key-file={}",
                    file("accounts.key")
                ))
                .arg(format!("--root-ca-file={}", file("serving/apiserver.crt")));
        }
        Process::start(&mut command, self.dir.join(format!("{name}.log")))
    }

    fn wait_until_ready(&mut self, most: Duration) {
        let token = config::token(&self.dir, "admin");
        let admin = config::kubeconfig(&self.dir, self.port, "admin", &token);
        let end = Instant::now() + most;
        loop {
            let asked = Command::new(program::find("kubectl"))
                .arg("--kubeconfig")
                .arg(&admin)
                .args(["get", "--raw", "/readyz"])
                .output()
                .unwrap();
            if asked.status.success() {
                return;
            }
            let server = self.server.as_mut().unwrap();
            assert!(
                server.runs() && Instant::now() < end,
                "the API server does not get ready: {}{}",
                String::from_utf8_lossy(&asked.stderr),
                server.log()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// A port of loopback that was free a moment ago.
pub(super) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
