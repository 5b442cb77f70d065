//! The clap tree, nothing else.
