//! A local Google Cloud: the APIs that a build's steps speak, on one port, with its state on disk.
//!
//! Three layers, each importing only downwards: [`wire`] is HTTP and JSON as Google speaks them, [`core`]
//! the state on disk and all else that a service stands on, and the services are a file or folder each:
//! what it covers, its routes, its typed state, its handlers. On top are this file, [`server`], which
//! finds the service that answers, [`seed`] (files that are objects from the start) and
//! [`watch`] (files that become objects later).
//! It shares no struct with `gcp`, so that client and emulator cannot agree on the same mistake.

mod bigquery;
pub(crate) mod client;
mod cloudbuild;
mod core;
mod eventarc;
mod kms;
mod logging;
mod metadata;
mod monitoring;
mod pubsub;
mod run;
mod scheduler;
pub(crate) mod seed;
mod server;
mod site;
mod source_repos;
mod storage;
#[cfg(test)]
mod tests;
mod tunnel;
mod vertex;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::core::clock::Keeper;
pub(crate) use self::core::clock::Pace;
pub use self::core::numbers::project_number;
pub(crate) use self::core::outgoing::RunService;
use self::core::service::Service;
pub(crate) use self::core::store::folder::claim as claim_state;
use self::core::store::{self, Kind, Store};
pub(crate) use self::core::variables::{address, exports, local_project, local_region, variables};
pub(crate) use self::core::{Builds, faults};
use self::core::{Core, Tasks, clock, guard, identity, operations, outgoing};
use crate::clock::Clock;
use crate::error::Input;
use crate::image::SelfImages;
use crate::listen::{self, Limits};
use crate::process::Groups;
use bigquery::BigQuery;
pub(crate) use cloudbuild::BuildSettings;
use cloudbuild::CloudBuild;
use eventarc::Eventarc;
use monitoring::Monitoring;
use pubsub::PubSub;
use scheduler::Scheduler;
use site::Site;
use source_repos::SourceRepos;
use storage::Storage;
use vertex::Vertex;
use wire::http::Table;

/// How much faster than real time a build's waits go by where nobody says otherwise.
pub(crate) const DEFAULT_TIME_SCALE: u32 = 300;

/// The most mebibytes of one push where nobody says otherwise.
pub(crate) const DEFAULT_PUSH_MIB: u64 = 512;

/// The path that is answered however much the emulator has to do.
const HEALTH: &str = "/health";

/// How an emulator is started.
pub(crate) struct Options {
    /// The folder of the state; made where it is missing.
    pub state: PathBuf,
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// How many times faster than the operating system's the emulator's clock goes; at least 1.
    pub time_scale: u32,
    /// When it goes so fast.
    pub pace: Pace,
    /// The program that stands for serin's own images.
    pub serin: PathBuf,
    /// Which images those are.
    pub own_images: SelfImages,
    /// Whether what Google limits by rate is let through.
    pub lenient: bool,
    /// Trouble on purpose.
    pub faults: Vec<faults::Fault>,
    /// Files that become objects before anything is served.
    pub seed: Option<seed::Seed>,
    /// Files that become objects while it serves.
    pub watch: Option<seed::Seed>,
    /// What the builds of Cloud Build are given.
    pub builds: BuildSettings,
    /// The most bytes of one push to a repository.
    pub most_push_bytes: u64,
    /// Machine types, accelerators and regions that Google has and serin does not know.
    pub accepted: Vec<String>,
    /// Where children are started.
    pub groups: Groups,
    /// Hosts by which requests may call it, beside the loopback's names.
    pub allowed_hosts: Vec<String>,
    /// Programs of this machine that stand for services of Cloud Run.
    pub run_services: Vec<RunService>,
}

/// The services over what they all stand on.
struct Emulator {
    core: Arc<Core>,
    storage: Arc<Storage>,
    monitoring: Arc<Monitoring>,
    bigquery: Arc<BigQuery>,
    vertex: Arc<Vertex>,
    source_repos: Arc<SourceRepos>,
    cloudbuild: Arc<CloudBuild>,
    pubsub: Arc<PubSub>,
    scheduler: Arc<Scheduler>,
    eventarc: Arc<Eventarc>,
    watch: Option<Arc<watch::Watch>>,
}

/// Every service. A path belongs to the first one that owns it.
static SERVICES: [Service; 11] = [
    bigquery::SERVICE,
    storage::SERVICE,
    source_repos::SERVICE,
    pubsub::SERVICE,
    scheduler::SERVICE,
    eventarc::SERVICE,
    run::SERVICE,
    cloudbuild::SERVICE,
    vertex::SERVICE,
    monitoring::SERVICE,
    logging::SERVICE,
];

/// Every kind of documents that a state may hold.
fn kinds() -> Vec<Kind> {
    let own = [
        store::counters(),
        clock::kind(),
        operations::kind(),
        outgoing::kind(),
    ];
    let of_services = SERVICES.iter().flat_map(|service| (service.kinds)());
    own.into_iter().chain(of_services).collect()
}

/// The methods of all services.
fn table(emulator: &Emulator) -> Table {
    let mut table = Table::default();
    table.add(&emulator.storage, storage::routes());
    table.add(&emulator.bigquery, bigquery::routes());
    table.add(&emulator.vertex, vertex::routes());
    table.add(&emulator.source_repos, source_repos::routes());
    table.add(&emulator.cloudbuild, cloudbuild::routes());
    table.add(&emulator.pubsub, pubsub::routes());
    table.add(&emulator.scheduler, scheduler::routes());
    table.add(&emulator.eventarc, eventarc::routes());
    table.add(&emulator.core, run::routes());
    table.add(&emulator.core, identity::routes());
    table.add(&emulator.monitoring, monitoring::routes());
    table.add(&emulator.core, logging::routes());
    table.add(&emulator.core, operations::routes());
    table.add(&emulator.core, clock::routes());
    table.add(&emulator.core, [guard::route()]);
    table
}

/// An emulator that serves.
pub(crate) struct Running {
    site: Arc<Site>,
    /// The one that was started first.
    #[cfg(test)]
    emulator: Arc<Emulator>,
    server: JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
    seeded: Option<seed::Seeded>,
}

impl Running {
    /// What its services stand on.
    #[cfg(test)]
    fn core(&self) -> &Arc<Core> {
        &self.emulator.core
    }

    /// Where it listens: `http://127.0.0.1:PORT`, without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        &self.site.setup.url
    }

    /// What the seed came to, where there was one.
    pub(crate) fn seeded(&self) -> Option<seed::Seeded> {
        self.seeded
    }

    /// The clock of the build that runs against it.
    pub(crate) fn clock(&self) -> Clock {
        self.site.setup.keeper.clock.clone()
    }

    /// Ends it: no new requests, children ended, state written, folder unlocked.
    pub(crate) async fn stop(self) {
        let _gone = self.shutdown.send(());
        // A request that hangs, on purpose or not, must not hold up the end.
        let mut server = self.server;
        if tokio::time::timeout(Duration::from_millis(500), &mut server)
            .await
            .is_err()
        {
            server.abort();
        }
        self.site.close().await;
    }
}

/// What emulators on a state are made from, one after the other.
struct Setup {
    options: Options,
    url: String,
    keeper: Arc<Keeper>,
    faults: Arc<faults::Faults>,
    guard: Arc<guard::Guard>,
    signer: Arc<identity::Signer>,
    outgoing: Arc<outgoing::Outgoing>,
}

impl Setup {
    /// An emulator on a state: operations and jobs that were under way are taken up, deployed models are
    /// served again. `seed` makes files objects before.
    async fn make(
        &self,
        store: Store,
        seed: Option<seed::Seed>,
    ) -> Result<(Arc<Emulator>, Option<seed::Seeded>)> {
        let options = &self.options;
        let core = Arc::new(Core {
            store,
            clock: self.keeper.clock.clone(),
            keeper: self.keeper.clone(),
            faults: self.faults.clone(),
            guard: self.guard.clone(),
            signer: self.signer.clone(),
            outgoing: self.outgoing.clone(),
            under_way: operations::UnderWay::default(),
            groups: options.groups.clone(),
            serin: options.serin.clone(),
            own_images: options.own_images.clone(),
            lenient: options.lenient,
            builds: options.builds.allowed,
            hosts: options.builds.hosts.clone(),
            accepted: options.accepted.clone(),
            state: options.state.clone(),
            url: self.url.clone(),
            tasks: Tasks::default(),
        });
        let pubsub = Arc::new(PubSub::new(core.clone()));
        let storage = Arc::new(Storage::new(core.clone(), pubsub.clone()));
        let monitoring = Arc::new(Monitoring::new(core.clone()));
        let bigquery = Arc::new(BigQuery::new(core.clone()));
        let source_repos = SourceRepos::new(core.clone(), options.most_push_bytes);
        let source_repos = Arc::new(source_repos);
        let watch = options.watch.clone();
        let watch = watch.map(|watch| Arc::new(watch::Watch::new(storage.clone(), watch)));
        let emulator = Arc::new(Emulator {
            core: core.clone(),
            storage: storage.clone(),
            monitoring: monitoring.clone(),
            bigquery: bigquery.clone(),
            vertex: Arc::new(Vertex::new(core.clone(), monitoring, bigquery.clone())),
            source_repos: source_repos.clone(),
            cloudbuild: Arc::new(CloudBuild::new(
                core.clone(),
                storage.clone(),
                source_repos.clone(),
                options.builds.clone(),
            )),
            pubsub: pubsub.clone(),
            scheduler: Arc::new(Scheduler::new(core.clone(), pubsub.clone())),
            eventarc: Arc::new(Eventarc::new(core.clone(), pubsub, storage.clone())),
            watch: watch.clone(),
        });
        // Not by itself: the builds' sources come from the storage, whose notifications are messages.
        let fired = Arc::downgrade(&emulator.cloudbuild);
        emulator.pubsub.listen(move |topic, message| {
            if let Some(cloudbuild) = fired.upgrade() {
                cloudbuild::take_message(&cloudbuild, topic, &message.told());
            }
        });
        // Before there are objects, whose notifications are messages.
        pubsub::start(&emulator.pubsub);
        storage::start(&storage).context("reading the emulator's objects")?;
        let seeded = match seed {
            Some(seed) => Some(
                tokio::task::spawn_blocking(move || seed::plant(&storage, &seed))
                    .await
                    .context("seeding the emulator")??,
            ),
            None => None,
        };
        let ticking = core.clone();
        core.spawn(async move { ticking.keeper.keep(&ticking.store).await });
        if let Some(watch) = watch {
            core.spawn(watch.keep());
        }
        monitoring::start(&emulator.monitoring);
        bigquery::start(&bigquery);
        vertex::start(&emulator.vertex)
            .await
            .context("bringing the emulator's models up again")?;
        source_repos::start(&source_repos).context("reading the emulator's repositories")?;
        cloudbuild::start(&emulator.cloudbuild).context("taking up the emulator's builds")?;
        eventarc::start(&emulator.eventarc);
        scheduler::start(&emulator.scheduler);
        Ok((emulator, seeded))
    }
}

/// Ends all that an emulator does, and its children. What it knows stays to be written.
async fn still(emulator: &Emulator) {
    source_repos::stop(&emulator.source_repos).await;
    cloudbuild::stop(&emulator.cloudbuild).await;
    emulator.core.tasks.shutdown().await;
    bigquery::stop(&emulator.bigquery).await;
    if let Some(watch) = &emulator.watch {
        watch.close().await;
    }
    // The children ended with the tasks that watched them.
    monitoring::keep(&emulator.monitoring);
}

/// Starts an emulator on a state folder: its clock goes on.
///
/// # Errors
/// [`Input`] when the folder is in use by another serin, the port is taken, the seed is wrong or the folder
/// that is to be watched cannot be read.
pub(crate) async fn start(mut options: Options) -> Result<Running> {
    if let Some(watch) = &options.watch {
        watch::check(&watch.folder)?;
    }
    let store = Store::open(&options.state, kinds())?;
    let keeper =
        Keeper::start(&store, options.time_scale, options.pace).context("starting the clock")?;
    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .await
        .map_err(|e| {
            Input::new(format!("cannot listen on 127.0.0.1:{}: {e}", options.port))
                .hint("choose another port; 0 takes any free one")
        })?;
    let setup = Setup {
        url: format!("http://{}", listener.local_addr()?),
        keeper,
        faults: Arc::new(faults::Faults::new(std::mem::take(&mut options.faults))),
        guard: Arc::new(guard::Guard::new(&options.allowed_hosts)),
        signer: Arc::default(),
        outgoing: Arc::new(outgoing::Outgoing::new(options.run_services.clone())?),
        options,
    };
    let (emulator, seeded) = setup.make(store, setup.options.seed.clone()).await?;
    let site = Arc::new(Site::new(setup, emulator.clone())?);
    let (shutdown, stopped) = oneshot::channel();
    let app = server::app(site.clone());
    let server = tokio::spawn(async move {
        let stopped = async {
            let _dropped = stopped.await;
        };
        listen::serve(listener, app, Limits::for_streams(), HEALTH, stopped).await;
    });
    Ok(Running {
        site,
        #[cfg(test)]
        emulator,
        server,
        shutdown,
        seeded,
    })
}

/// `serin emulate`: serves until SIGINT or SIGTERM, then ends in order.
///
/// # Errors
/// As [`start`].
pub(crate) async fn serve_until_interrupted(options: Options) -> Result<()> {
    let mut signals = crate::signals::Signals::listen()?;
    let state = options.state.clone();
    let watch = options.watch.clone();
    let faults: Vec<String> = options.faults.iter().map(ToString::to_string).collect();
    let running = start(options).await?;
    println!("serving {}", running.url());
    println!("state   {}", state.display());
    let clock = running.clock();
    println!(
        "clock   {}, now {}",
        match clock.scale() {
            1 => "real time".to_owned(),
            scale => format!("{scale} times as fast"),
        },
        clock.now()
    );
    if let Some(seeded) = running.seeded() {
        println!("seed    {seeded}");
    }
    if let Some(watch) = watch {
        println!("watch   {}", watch.folder.display());
    }
    println!(
        "builds  {}",
        match running.site.setup.options.builds.allowed {
            Builds::Off => "refused; --builds=containers or --builds=host runs them",
            Builds::Containers => "run in containers",
            Builds::Host => "run in containers and by programs of this machine",
        }
    );
    if !faults.is_empty() {
        println!("faults  {}", faults.join(" "));
    }
    println!(
        "try     curl '{}/storage/v1/b?project={}'",
        running.url(),
        local_project()
    );
    println!(
        "env     eval \"$(serin emulate env --url {})\"",
        running.url()
    );
    signals.next().await;
    running.stop().await;
    Ok(())
}
