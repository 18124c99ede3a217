// SPDX-License-Identifier: Apache-2.0
//! The whole street on guests, without booting them: inspect, plan, convert, verify, undo.

mod filesystems;
mod grub;
mod images;
mod layouts;
mod real;
mod sectors;
mod stacks;
mod tools;
mod volumes;
