//! Gives the library the name that NVML clients look for, and keeps it loaded once loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    // Clients close the library at shutdown while other runtimes still live in the process.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
