//! HTTP and JSON as Google's APIs speak them, whichever service it is that answers.

pub(in crate::emulator) mod case;
pub(in crate::emulator) mod enums;
pub(in crate::emulator) mod error;
pub(in crate::emulator) mod filter;
pub(in crate::emulator) mod gzip;
pub(in crate::emulator) mod http;
pub(in crate::emulator) mod json;
pub(in crate::emulator) mod labels;
pub(in crate::emulator) mod mask;
pub(in crate::emulator) mod message;
pub(in crate::emulator) mod page;
