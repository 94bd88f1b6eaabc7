//! Generates the wire types. protox compiles the .proto files in Rust, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "mica/v1/fleet.proto",
        "mica/v1/console.proto",
        "kubelet/podresources.proto",
        "kubelet/deviceplugin.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
