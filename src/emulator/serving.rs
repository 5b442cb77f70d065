#[derive(Default)]
pub(in crate::emulator) struct Runtime;
