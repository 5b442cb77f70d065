//! Which machines, accelerators and regions Vertex AI has, to the best of our knowledge of November 2026: the
//! regions are those of its client for Python, the rest was set down by hand and checked against no list of
//! Google's. What is missing here is named to the emulator by `--machine-type`.

use super::jobs::MachineSpec;
use crate::emulator::core::Core;
use crate::emulator::wire::enums;
use crate::emulator::wire::error::ApiError;

/// The machine that serves where nothing is said.
pub(super) const DEFAULT: &str = "n1-standard-2";

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Jobs that train.
    Training,
    /// Endpoints and batch predictions.
    Serving,
}

pub(super) const REGIONS: [&str; 42] = [
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west12",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-east7",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
    "us-west8",
];

/// Families of machines without accelerators, or to which some may be attached, with their numbers of
/// processors.
const TRAINING: [(&str, &[u32]); 12] = [
    ("c2-standard", &[4, 8, 16, 30, 60]),
    ("e2-highcpu", &[16, 32]),
    ("e2-highmem", &[2, 4, 8, 16]),
    ("e2-standard", &[4, 8, 16, 32]),
    ("m1-megamem", &[96]),
    ("m1-ultramem", &[40, 80, 160]),
    ("n1-highcpu", &[16, 32, 64, 96]),
    ("n1-highmem", &[2, 4, 8, 16, 32, 64, 96]),
    ("n1-standard", &[4, 8, 16, 32, 64, 96]),
    ("n2-highcpu", &[16, 32, 48, 64, 80]),
    ("n2-highmem", &[2, 4, 8, 16, 32, 48, 64, 80]),
    ("n2-standard", &[4, 8, 16, 32, 48, 64, 80]),
];
const SERVING: [(&str, &[u32]); 19] = [
    ("c2-standard", &[4, 8, 16, 30, 60]),
    ("c2d-highcpu", &[2, 4, 8, 16, 32, 56, 112]),
    ("c2d-highmem", &[2, 4, 8, 16, 32, 56, 112]),
    ("c2d-standard", &[2, 4, 8, 16, 32, 56, 112]),
    ("c3-highcpu", &[4, 8, 22, 44, 88, 176]),
    ("c3-highmem", &[4, 8, 22, 44, 88, 176]),
    ("c3-standard", &[4, 8, 22, 44, 88, 176]),
    ("e2-highcpu", &[2, 4, 8, 16, 32]),
    ("e2-highmem", &[2, 4, 8, 16]),
    ("e2-standard", &[2, 4, 8, 16, 32]),
    ("n1-highcpu", &[2, 4, 8, 16, 32]),
    ("n1-highmem", &[2, 4, 8, 16, 32]),
    ("n1-standard", &[2, 4, 8, 16, 32]),
    ("n2-highcpu", &[2, 4, 8, 16, 32, 48, 64, 80, 96]),
    ("n2-highmem", &[2, 4, 8, 16, 32, 48, 64, 80, 96, 128]),
    ("n2-standard", &[2, 4, 8, 16, 32, 48, 64, 80, 96, 128]),
    ("n2d-highcpu", &[2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224]),
    ("n2d-highmem", &[2, 4, 8, 16, 32, 48, 64, 80, 96]),
    ("n2d-standard", &[2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224]),
];

/// Machines that are what they are with so many accelerators of one type, for both uses.
const WITH_GPUS: [(&str, &str, i32); 30] = [
    ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1),
    ("a2-highgpu-2g", "NVIDIA_TESLA_A100", 2),
    ("a2-highgpu-4g", "NVIDIA_TESLA_A100", 4),
    ("a2-highgpu-8g", "NVIDIA_TESLA_A100", 8),
    ("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16),
    ("a2-ultragpu-1g", "NVIDIA_A100_80GB", 1),
    ("a2-ultragpu-2g", "NVIDIA_A100_80GB", 2),
    ("a2-ultragpu-4g", "NVIDIA_A100_80GB", 4),
    ("a2-ultragpu-8g", "NVIDIA_A100_80GB", 8),
    ("a3-edgegpu-8g", "NVIDIA_H100_80GB", 8),
    ("a3-highgpu-1g", "NVIDIA_H100_80GB", 1),
    ("a3-highgpu-2g", "NVIDIA_H100_80GB", 2),
    ("a3-highgpu-4g", "NVIDIA_H100_80GB", 4),
    ("a3-highgpu-8g", "NVIDIA_H100_80GB", 8),
    ("a3-megagpu-8g", "NVIDIA_H100_MEGA_80GB", 8),
    ("a3-ultragpu-8g", "NVIDIA_H200_141GB", 8),
    ("a4-highgpu-8g", "NVIDIA_B200", 8),
    ("a4x-highgpu-4g", "NVIDIA_GB200", 4),
    ("g2-standard-4", "NVIDIA_L4", 1),
    ("g2-standard-8", "NVIDIA_L4", 1),
    ("g2-standard-12", "NVIDIA_L4", 1),
    ("g2-standard-16", "NVIDIA_L4", 1),
    ("g2-standard-24", "NVIDIA_L4", 2),
    ("g2-standard-32", "NVIDIA_L4", 1),
    ("g2-standard-48", "NVIDIA_L4", 4),
    ("g2-standard-96", "NVIDIA_L4", 8),
    ("g4-standard-48", "NVIDIA_RTX_PRO_6000", 1),
    ("g4-standard-96", "NVIDIA_RTX_PRO_6000", 2),
    ("g4-standard-192", "NVIDIA_RTX_PRO_6000", 4),
    ("g4-standard-384", "NVIDIA_RTX_PRO_6000", 8),
];

/// Machines of tensor processors, which a topology counts.
const WITH_TPUS: [&str; 9] = [
    "ct4p-hightpu-4t",
    "ct5lp-hightpu-1t",
    "ct5lp-hightpu-4t",
    "ct5lp-hightpu-8t",
    "ct5p-hightpu-4t",
    "ct6e-standard-1t",
    "ct6e-standard-4t",
    "ct6e-standard-8t",
    "tpu7x-standard-4t",
];

/// What may be attached to a machine of the first generation: so many, up to so many processors.
const ATTACHED: [(&str, &[(i32, u32)]); 4] = [
    ("NVIDIA_TESLA_P4", &[(1, 24), (2, 48), (4, 96)]),
    ("NVIDIA_TESLA_T4", &[(1, 24), (2, 48), (4, 96)]),
    ("NVIDIA_TESLA_P100", &[(1, 16), (2, 32), (4, 96)]),
    ("NVIDIA_TESLA_V100", &[(1, 12), (2, 24), (4, 48), (8, 96)]),
];

/// The one old machine whose accelerators are tensor processors.
const CLOUD_TPU: &str = "cloud-tpu";

/// Whether a place is one of Vertex AI's.
///
/// # Errors
/// `INVALID_ARGUMENT` where it is none.
pub(super) fn check_region(core: &Core, location: &str) -> Result<(), ApiError> {
    if REGIONS.contains(&location) || core.accepts(location) {
        return Ok(());
    }
    Err(ApiError::invalid_argument(format!(
        "The location \"{location}\" is no region of Vertex AI.{}",
        later("--region")
    )))
}

/// Where a list here may be the one that is wrong.
fn later(flag: &str) -> String {
    format!(" (This emulator knows those of November 2026; `{flag} NAME` adds one.)")
}

/// Whether there is such a machine, and takes such accelerators; `field` is the message's path.
///
/// # Errors
/// `INVALID_ARGUMENT` as Google writes it.
pub(super) fn check(core: &Core, spec: &MachineSpec, of: Use, field: &str) -> Result<(), ApiError> {
    let refuse = |name: &str, why: String| {
        let field = format!("{field}.{name}");
        let text = format!("List of found errors:\t1.Field: {field}; Message: {why}\t");
        let mut error = ApiError::invalid_argument(why).violation(&field);
        error.message = text;
        Err(error)
    };
    let accelerator = spec.accelerator_type.as_str();
    if !accelerator.is_empty()
        && !enums::has(enums::ACCELERATOR, accelerator)
        && !core.accepts(accelerator)
    {
        let field = format!("{field}.accelerator_type");
        return Err(ApiError::invalid_argument(format!(
            "Invalid value at '{field}' (type.googleapis.com/{}), \"{accelerator}\"{}",
            enums::ACCELERATOR,
            later("--accelerator")
        ))
        .violation(&field));
    }
    let machine = spec.machine_type.as_str();
    let kind = Machine::of(machine, of);
    let count = spec.accelerator_count.unwrap_or_default();
    if kind.is_none() && !core.accepts(machine) {
        return refuse(
            "machine_type",
            format!(
                "Machine type \"{machine}\" is not supported.{}",
                later("--machine-type")
            ),
        );
    }
    if accelerator.is_empty() != (count == 0) || count < 0 {
        return refuse(
            "accelerator_type",
            "Both `accelerator_type` and `accelerator_count` should be specified or none. ".into(),
        );
    }
    let Some(kind) = kind else { return Ok(()) };
    if core.accepts(accelerator) {
        return Ok(());
    }
    let counts = kind.counts(accelerator);
    if counts.is_empty() && !accelerator.is_empty() {
        return refuse(
            "accelerator_type",
            format!(
                "Accelerator \"{accelerator}\" is not supported for machine type \"{machine}\"."
            ),
        );
    }
    match kind {
        Machine::Gpus(named, counted) if accelerator.is_empty() => refuse(
            "accelerator_type",
            format!(
                "Machine type \"{machine}\" must have {counted} accelerators of type \"{named}\"."
            ),
        ),
        _ if accelerator.is_empty() || counts.contains(&count) => Ok(()),
        _ => {
            let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
            refuse(
                "accelerator_count",
                format!(
                    "Accelerator count {count} of \"{accelerator}\" is not supported for machine type \"{machine}\": it may have {}.",
                    counts.join(", ")
                ),
            )
        }
    }
}

/// What accelerators a machine has.
enum Machine {
    /// One of the first generation, with so many processors.
    First(u32),
    Plain,
    Gpus(&'static str, i32),
    Tpu,
    CloudTpu,
}

impl Machine {
    fn of(name: &str, of: Use) -> Option<Self> {
        let mut with_gpus = WITH_GPUS.iter();
        if let Some((_, gpu, count)) = with_gpus.find(|(machine, ..)| *machine == name) {
            return Some(Self::Gpus(gpu, *count));
        }
        if WITH_TPUS.contains(&name) {
            return Some(Self::Tpu);
        }
        if name == CLOUD_TPU && of == Use::Training {
            return Some(Self::CloudTpu);
        }
        let families: &[(&str, &[u32])] = match of {
            Use::Training => &TRAINING,
            Use::Serving => &SERVING,
        };
        let (family, size) = name.rsplit_once('-')?;
        let size = size.parse().ok().filter(|n: &u32| n.to_string() == size)?;
        let mut families = families.iter();
        let (family, sizes) = families.find(|(known, _)| *known == family)?;
        sizes
            .contains(&size)
            .then_some(match family.starts_with("n1-") {
                true => Self::First(size),
                false => Self::Plain,
            })
    }

    /// How many accelerators of a type it may have.
    fn counts(&self, accelerator: &str) -> Vec<i32> {
        match self {
            Self::Plain | Self::Tpu => Vec::new(),
            Self::CloudTpu if ["TPU_V2", "TPU_V3"].contains(&accelerator) => {
                vec![8, 32, 64, 128, 256, 512, 1024, 2048]
            }
            Self::CloudTpu => Vec::new(),
            Self::Gpus(gpu, count) if *gpu == accelerator => vec![*count],
            Self::Gpus(..) => Vec::new(),
            Self::First(processors) => {
                let known = ATTACHED.iter().find(|(gpu, _)| *gpu == accelerator);
                let counts = known.map_or(&[][..], |(_, counts)| counts);
                let fit = counts.iter().filter(|(_, most)| processors <= most);
                fit.map(|(count, _)| *count).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_those_of_googles_pages() {
        for (name, training, serving) in [
            ("n1-standard-4", true, true),
            ("n1-standard-2", false, true),
            ("n1-standard-96", true, false),
            ("e2-standard-4", true, true),
            ("c3-standard-22", false, true),
            ("a2-highgpu-1g", true, true),
            ("ct6e-standard-4t", true, true),
            ("cloud-tpu", true, false),
            ("n1-standrad-4", false, false),
            ("n1-standard-04", false, false),
            ("n1-standard-5", false, false),
            ("n1", false, false),
            ("totally-wrong", false, false),
            ("", false, false),
        ] {
            for (of, there) in [(Use::Training, training), (Use::Serving, serving)] {
                assert_eq!(Machine::of(name, of).is_some(), there, "{name} {of:?}");
            }
        }
    }

    #[test]
    fn accelerators_go_with_some_machines_only() {
        let counts = |machine, accelerator| {
            let machine = Machine::of(machine, Use::Training).unwrap();
            machine.counts(accelerator)
        };
        assert_eq!(counts("n1-standard-4", "NVIDIA_TESLA_T4"), [1, 2, 4]);
        assert_eq!(counts("n1-standard-32", "NVIDIA_TESLA_T4"), [2, 4]);
        assert_eq!(counts("n1-highmem-96", "NVIDIA_TESLA_V100"), [8]);
        assert_eq!(counts("g2-standard-48", "NVIDIA_L4"), [4]);
        assert!(counts("n1-standard-4", "NVIDIA_TESLA_K80").is_empty());
        assert!(counts("e2-standard-4", "NVIDIA_TESLA_T4").is_empty());
        assert!(counts("g2-standard-4", "NVIDIA_TESLA_T4").is_empty());
    }
}
