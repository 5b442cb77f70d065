#[derive(Default)]
pub(in crate::emulator) struct Runtime;
pub(in crate::emulator) fn routes() -> Vec<super::server::Route> {
    Vec::new()
}
