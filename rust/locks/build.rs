//! Compiles the system call that SQLite is given. It takes a variable number of arguments, which only C can.

fn main() {
    println!("cargo::rerun-if-changed=src/locks.c");
    cc::Build::new().file("src/locks.c").std("c99").warnings(true).compile("buquet_locks");
}
