//! Marks the module with the processors that it is for, where those are not all: the loader of
//! another refuses it, and Python says what to do. Only GNU's linker knows how.

use std::env;

fn main() {
    let is = |name: &str, value| env::var(name).is_ok_and(|found| found == value);
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let x86_64_v3 = features.split(',').any(|feature| feature == "avx2");
    if x86_64_v3 && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,x86-64-v3");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
