// SPDX-License-Identifier: Apache-2.0
//! The boot proof: a throw-away overlay of the guest's disks, started in QEMU as KubeVirt would.
