//! Compiles the gRPC API's description, without protoc, and keeps the optimisation level for the benches to print.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=HOWDAH_OPT_LEVEL={}", std::env::var("OPT_LEVEL")?);
    let descriptors = protox::compile(["howdah/v1/cost.proto"], ["proto"])?;
    // What the reflection service tells.
    let out: PathBuf = std::env::var("OUT_DIR")?.into();
    let encoded = protox::Compiler::new(["proto"])?
        .include_imports(true)
        .open_file("howdah/v1/cost.proto")?
        .encode_file_descriptor_set();
    std::fs::write(out.join("howdah.v1.bin"), encoded)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
