//! Devices that are offered to pods, and taken back before what they stand for goes.

use std::collections::BTreeSet;

/// Something that offers the devices of this node to pods: the device plugin, or its stand-in.
pub trait Offers: Send + Sync {
    /// Takes devices of a GPU back, and waits until no pod can get them any more, for some seconds at most. `Err` says why one still
    /// may. They are not offered again before [`Self::offer_again`], whatever comes of it.
    fn take_back(&self, gpu: &str, devices: &BTreeSet<String>) -> Result<(), String>;

    /// Offers again what was taken back of a GPU, as far as it still stands.
    fn offer_again(&self, gpu: &str);
}
