//! What every service stands on: the state on disk, the clock, trouble on purpose, who may call, work
//! that lasts, and how programs are run here. Knows no service.

pub(in crate::emulator) mod child;
pub(in crate::emulator) mod clock;
pub(in crate::emulator) mod container;
pub(crate) mod faults;
pub(in crate::emulator) mod guard;
pub(in crate::emulator) mod identity;
pub(in crate::emulator) mod numbers;
pub(in crate::emulator) mod operations;
pub(in crate::emulator) mod outgoing;
pub(in crate::emulator) mod service;
pub(in crate::emulator) mod store;
pub(in crate::emulator) mod variables;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::image::HostImage;
use crate::image::SelfImages;
use crate::process::Groups;
use faults::Faults;
use guard::Guard;
use operations::UnderWay;
use store::Store;

/// Whose programs a request may run on this machine, beside serin's own in jobs and behind endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Builds {
    /// Nobody's: builds are refused
    #[default]
    Off,
    /// Those in containers, which are given the engine's socket, as on Cloud Build
    Containers,
    /// Also programs and scripts of this machine, as in steps of serin's own image
    Host,
}

/// What every service is given.
pub(in crate::emulator) struct Core {
    pub store: Store,
    pub clock: Clock,
    /// Who works and waits under the clock.
    pub keeper: Arc<clock::Keeper>,
    pub faults: Arc<Faults>,
    pub guard: Arc<Guard>,
    /// Who the emulator is where it calls somebody, and how it calls.
    pub signer: Arc<identity::Signer>,
    pub outgoing: Arc<outgoing::Outgoing>,
    pub under_way: UnderWay,
    /// Where children are started.
    pub groups: Groups,
    /// The program that stands for serin's own images.
    pub serin: PathBuf,
    /// Which images those are.
    pub own_images: SelfImages,
    /// Whether what Google limits by rate is let through.
    pub lenient: bool,
    /// Whose programs requests may run.
    pub builds: Builds,
    /// Images in whose place programs of this machine run, under [`Builds::Host`].
    pub hosts: Vec<HostImage>,
    /// Machine types, accelerators and regions beside those that serin knows.
    pub accepted: Vec<String>,
    /// The state folder.
    pub state: PathBuf,
    /// The emulator's address, as in `http://127.0.0.1:8080`.
    pub url: String,
    pub tasks: Tasks,
}

impl Core {
    /// Whether a machine type, accelerator or region was named as one that Google has.
    pub(in crate::emulator) fn accepts(&self, name: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted == name)
    }

    /// Runs a task until it ends or the emulator stops, whichever comes first. A task may be
    /// dropped at any await, as by a kill: what it must not lose stands in the store.
    pub(in crate::emulator) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// The tasks of [`Core::spawn`].
#[derive(Default)]
pub(in crate::emulator) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Drops every task where it waits.
    pub(in crate::emulator) async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}
