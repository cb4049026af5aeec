//! Keeps the shared library's exports to its own functions.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Some dependencies carry C interfaces of their own, which rustc would export too. In one flat namespace, as on
    // Linux, they could take the place of the host's, or the host's theirs.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    }
}
