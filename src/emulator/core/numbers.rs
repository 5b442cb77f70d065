//! Numbers that are made of names, always the same of the same name.

/// The number of a project: Vertex AI and others return names that carry it in the place of the id.
/// What is a number already stays; else twelve digits that are always the same for the same id.
pub fn project_number(project: &str) -> String {
    if !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit()) {
        return project.to_owned();
    }
    (100_000_000_000 + fnv(project) % 900_000_000_000).to_string()
}

/// The 64-bit hash FNV-1a.
pub(in crate::emulator) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
