pub(in crate::emulator) fn routes() -> Vec<super::server::Route> {
    Vec::new()
}
