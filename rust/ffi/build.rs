//! Names the shared library and keeps its exports to its own functions.

/// The major version of the ABI, as in `src/abi/version.rs`: programs ask the loader for the library by it.
const ABI_MAJOR: u32 = 1;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=exports.map");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libbuquet.so.{ABI_MAJOR}");
        // Some dependencies carry C interfaces of their own, which rustc would export too. In one flat namespace, as on
        // Linux, they could take the place of the host's, or the host's theirs.
        if std::env::var("RUSTC_LINKER").is_ok_and(|linker| linker.contains("zigcc")) {
            // Zig refuses `--exclude-libs`. Of several version scripts it takes the last, which other linkers refuse.
            // A copy, since cargo takes what this program printed for a tree that has been moved as well.
            let exports = std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap_or_default()).join("exports.map");
            std::fs::copy("exports.map", &exports)?;
            println!("cargo::rustc-cdylib-link-arg=-Wl,--version-script={}", exports.display());
        } else {
            println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        }
        // A third of the file would be names of functions. Test programs keep theirs.
        println!("cargo::rustc-cdylib-link-arg=-Wl,--strip-all");
    }
    Ok(())
}
