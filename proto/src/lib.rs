//! The wire: `mica.v1`, spoken between agent, coordinator and command line, and what the kubelet speaks.
//!
//! [`v1`] is generated from `proto/mica/v1/*.proto`, where the messages are documented. [`convert`] turns its messages
//! into the vocabulary of [`mica_model`] and back, and is the one place that checks what came over the wire.

pub mod convert;

/// The kubelet's device plugin API, generated from `kubelet/deviceplugin.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated; documented in the .proto file"
)]
pub mod deviceplugin {
    tonic::include_proto!("v1beta1");
}

/// The kubelet's PodResources API, generated from `kubelet/podresources.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated; documented in the .proto file"
)]
pub mod podresources {
    tonic::include_proto!("v1");
}

/// Generated from `mica/v1/*.proto`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("mica.v1");
}
