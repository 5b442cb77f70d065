//! A local Google Cloud: the APIs that a build's steps speak, on one port, with its state on disk.
