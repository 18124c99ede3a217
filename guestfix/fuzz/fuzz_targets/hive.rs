// SPDX-License-Identifier: Apache-2.0
//! libFuzzer's way into [`exercise::fuzz_hive`].
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::fuzz_hive(bytes));
