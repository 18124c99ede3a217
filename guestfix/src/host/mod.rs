// SPDX-License-Identifier: Apache-2.0
//! The host boundary: processes, loop devices, mounts, namespaces, FUSE, the sandbox and locks.
//! The only room with unsafe code; everything it takes from the kernel is given back by a guard.
