//! Lets every binary of this crate find LibTorch at start-up without an environment variable.

use std::path::Path;

/// Where `make setup` puts LibTorch's libraries, from the repository's root.
const LIBRARIES: &str = ".libtorch/torch/lib";

/// How far below the repository's root a binary lies: in `target/debug`, and a test in `target/debug/deps`.
const DEPTHS: [&str; 2] = ["../..", "../../.."];

fn main() {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's folder");
    let root = Path::new(&crate_folder).ancestors().nth(2).expect("the crate lies in stages/torch");
    let libraries = root.join(LIBRARIES);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../{LIBRARIES}/libtorch_cpu.so");
    if !libraries.join("libtorch_cpu.so").exists() {
        println!("cargo::error=LibTorch is not in `.libtorch/`: run `make setup`, then build again");
        return;
    }

    // The relative places come first, so that a checkout can move with its `target/`; the absolute one is for
    // a target folder elsewhere. Plain `-rpath` leaves LD_LIBRARY_PATH the last word, which a binary needs
    // that was carried to a machine with a LibTorch of its own.
    for depth in DEPTHS {
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/{depth}/{LIBRARIES}");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
}
