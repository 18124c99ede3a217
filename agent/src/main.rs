// SPDX-License-Identifier: Apache-2.0
//! guestfix on a cluster: one binary, two roles.
//!
//! *controller* (a Deployment, unprivileged) groups a guest's disks and gates its VM; *node* (a
//! DaemonSet, privileged) runs one `guestfix` process tree per guest on the node where the disks
//! are mounted. Deciding will be a pure function `next(&Conversion, &Observed) -> Action`.
//!
//! The cluster API is not built yet. The binary starts, says so and ends with exit code 4
//! ("unsupported"), so that a manifest deploying it too early fails visibly.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    tracing::error!("the cluster agent is not built yet: run `guestfix convert` on the node");
    ExitCode::from(4)
}
