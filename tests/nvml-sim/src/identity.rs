//! Names of things, all computed from a seed: the same node always has the same UUIDs.
//!
//! As in the kernel driver, a MIG device's UUID is a hash of its GPU, its GPU instance id and its engine, which here is the first
//! compute slice: one created again in the same place has the same UUID (see [`crate::Behaviour`] for when it has not). Clients
//! must not take a UUID for an instance's life.

use std::fmt::Write as _;

use crate::state::ComputeInstance;

/// FNV-1a, 64 bit. Not for security: it only has to be stable and to spread.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Finishes a hash so that inputs that differ little give outputs that differ much (splitmix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A UUID of the shape of version 5 (hash of a name).
fn uuid(name: &[u8]) -> [u8; 16] {
    let high = mix(hash(name));
    let bytes = (u128::from(high) << 64) | u128::from(mix(high ^ 0x5bd1_e995));
    let version = 0xf_u128 << 76;
    let variant = 0x3_u128 << 62;
    ((bytes & !version & !variant) | (0x5 << 76) | (0x2 << 62)).to_be_bytes()
}

/// UUID of a GPU of the node with this seed.
pub(crate) fn gpu_uuid(seed: u64, index: u64, board: &str) -> [u8; 16] {
    let mut name = board.as_bytes().to_vec();
    name.extend(seed.to_be_bytes());
    name.extend(index.to_be_bytes());
    uuid(&name)
}

/// UUID of a MIG device. The UUID of its GPU stands for chip and serial number.
pub(crate) fn mig_uuid(gpu: [u8; 16], gi: u8, compute: &ComputeInstance) -> [u8; 16] {
    let mut name = gpu.to_vec();
    name.extend([gi, compute.start]);
    name.extend(compute.birth.to_be_bytes());
    uuid(&name)
}

/// Boot id of a node, as in `/proc/sys/kernel/random/boot_id`.
pub(crate) fn boot_id(seed: u64, boots: u64) -> String {
    let mut name = b"boot".to_vec();
    name.extend(seed.to_be_bytes());
    name.extend(boots.to_be_bytes());
    groups(uuid(&name))
}

/// A UUID in text with the driver's prefix, `GPU` or `MIG`.
pub(crate) fn uuid_text(prefix: &str, uuid: [u8; 16]) -> String {
    format!("{prefix}-{}", groups(uuid))
}

fn groups(uuid: [u8; 16]) -> String {
    let mut text = String::new();
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// PCI bus number of a GPU by its index: far enough apart that nobody takes it for an index.
pub(crate) fn bus(index: u32) -> u32 {
    7 + 13 * index
}

/// PCI bus id of a GPU by its index, as NVML prints it: `00000000:07:00.0`.
pub(crate) fn bus_id(index: u32) -> String {
    format!("00000000:{:02X}:00.0", bus(index))
}

/// Domain, bus, device and function of a PCI bus id: `00000000:07:00.0`, `0000:07:00.0` or `07:00.0`.
pub(crate) fn parse_bus_id(text: &str) -> Option<(u32, u32, u32, u32)> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest
        .rsplit(':')
        .map(|part| u32::from_str_radix(part, 16).ok());
    let (device, bus) = (parts.next()??, parts.next()??);
    let domain = parts.next().unwrap_or(Some(0))?;
    Some((domain, bus, device, function.parse().ok()?))
}

/// Serial number of a board: 13 digits, as on the label.
pub(crate) fn serial(gpu: [u8; 16]) -> String {
    format!("{:013}", hash(&gpu) % 10_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(start: u8, birth: u32) -> ComputeInstance {
        ComputeInstance {
            start,
            birth,
            ..bytemuck::Zeroable::zeroed()
        }
    }

    #[test]
    fn a_uuid_is_of_a_place_and_of_a_birth() {
        let gpu = gpu_uuid(1, 0, "a100-40gb");
        let of = |start, birth| mig_uuid(gpu, 3, &compute(start, birth));
        let twin = ComputeInstance {
            generation: 9,
            mig_index: 4,
            ..compute(1, 0)
        };
        assert_eq!(of(1, 0), mig_uuid(gpu, 3, &twin));
        assert_ne!(of(1, 0), of(2, 0));
        assert_ne!(of(1, 0), of(1, 7));
        assert_ne!(boot_id(1, 1), boot_id(1, 2));
        assert_eq!(boot_id(1, 1).len(), 36);
    }

    #[test]
    fn uuids_have_the_shape_of_version_5_and_differ() {
        let gpu = gpu_uuid(1, 0, "a100-40gb");
        let text = uuid_text("GPU", gpu);
        assert_eq!(text.len(), 40, "{text}");
        assert_eq!(text.as_bytes()[18], b'5', "{text}");
        assert!(b"89ab".contains(&text.as_bytes()[23]), "{text}");
        let mut all: Vec<_> = (0..15)
            .flat_map(|gi| (0..8).map(move |ci| mig_uuid(gpu, gi, &compute(ci, 0))))
            .collect();
        all.extend([
            gpu,
            gpu_uuid(1, 1, "a100-40gb"),
            gpu_uuid(2, 0, "a100-40gb"),
            gpu_uuid(1, 0, "a30-24gb"),
        ]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 124);
    }
}
