//! libFuzzer on the target that `BUQUET_FUZZ_TARGET` names: see `nox -s fuzz`.
#![no_main]
#![expect(unsafe_code, reason = "libFuzzer calls a C function of a given name, which its macro writes")]

use std::sync::OnceLock;

use buquet_fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

#[expect(clippy::expect_used, reason = "without a target there is nothing to do")]
fn chosen() -> Target {
    *TARGET.get_or_init(|| {
        let name = std::env::var("BUQUET_FUZZ_TARGET").unwrap_or_default();
        target(&name).expect("BUQUET_FUZZ_TARGET names a target")
    })
}

fuzz_target!(|data: &[u8]| chosen()(data));
