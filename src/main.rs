//! Entry: parse, dispatch, exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use serin::cli::{
    Cli, CloudFlags, Command, CommonFlags, EmulateCommand, EmulateFlags, LintFlags, ProfileFlags,
    RunFlags, ServeFlags,
};
use serin::config::Config;
use serin::data::{checks, read};
use serin::emulator::seed::Seed;
use serin::error::Input;
use serin::exit::{self, code};
use serin::image::SelfImages;
use serin::process::Groups;
use serin::steps::{self, Context, summary};
use serin::workspace::Workspace;
use serin::{cloudbuild, emulator, eprintln, log, printable, println, serve};

fn main() -> ExitCode {
    if !serin::process::wait_for_word() {
        return ExitCode::from(code::TERMINATED);
    }
    std::panic::set_hook(Box::new(report_panic));
    // reqwest is built without a provider of cryptography, so that ring is the only one in the binary.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    // These run as containers of the cloud, whose log takes a line for an entry.
    let logs = matches!(cli.command, Command::Fit(_) | Command::Serve(_));
    match std::panic::catch_unwind(|| dispatch(cli)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(e)) => {
            if logs {
                log::error(&exit::render(&e));
            } else {
                eprintln!("{}", exit::render(&e));
            }
            ExitCode::from(exit::exit_code(&e))
        }
        Err(_) => ExitCode::from(code::BUG),
    }
}

/// A panic is a bug and says so in one sentence; a reader that went away is not, nor is a damaged file.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no message");
    if text.contains("Broken pipe") {
        std::process::exit(0);
    }
    if serin::catch_panic::is_catching() {
        return;
    }
    let place = panic
        .location()
        .map(|l| format!(" at {}:{}", l.file(), l.line()));
    eprintln!(
        "error: a bug in serin{}: {text}\nhint: please report it with the command and this message",
        place.unwrap_or_default()
    );
}

fn dispatch(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Lint(flags) => lint(flags),
        Command::Train(flags) => step(flags.common, async |ctx| {
            let args = steps::train::TrainArgs {
                image: flags.image,
                seed: flags.seed,
                max_depth: flags.max_depth,
            };
            steps::train::train(ctx, &args).await
        }),
        Command::Validate(flags) => step(flags, async |ctx| steps::validate::validate(ctx).await),
        Command::Push(flags) => step(flags.common, async |ctx| {
            steps::push::push(ctx, &flags.image).await
        }),
        Command::Deploy(flags) => step(flags, async |ctx| steps::deploy::deploy(ctx).await),
        Command::Run(flags) if flags.check => check(*flags),
        Command::Run(flags) => many_threads()?.block_on(run(*flags)),
        Command::Emulate(EmulateFlags {
            command: Some(EmulateCommand::Env(flags)),
            ..
        }) => {
            let url = match &flags.url {
                Some(url) => emulator::address(url)?,
                None => format!("http://127.0.0.1:{}", flags.port),
            };
            let project = flags.project.unwrap_or_else(emulator::local_project);
            print!("{}", emulator::exports(&url, &project));
            Ok(code::DONE)
        }
        Command::Emulate(flags) => {
            many_threads()?.block_on(emulate(flags))?;
            Ok(code::DONE)
        }
        Command::Fit(flags) => {
            let ends = steps::fit::Ends {
                specification: flags.specification,
                training_data: flags.training_data,
                model_dir: flags.model_dir,
                encryption_key: flags.encryption_key,
            };
            one_thread()?.block_on(steps::fit::fit(&ends))?;
            Ok(code::DONE)
        }
        Command::Serve(flags) => {
            many_threads()?.block_on(serve_model(flags))?;
            Ok(code::DONE)
        }
        Command::Profile(flags) => {
            let args = profile_args(flags);
            let mut out = std::io::stdout();
            let outcome = one_thread()?.block_on(steps::profile::profile(&args, &mut out))?;
            Ok(outcome.exit_code())
        }
        Command::Init(flags) => {
            let args = steps::init::Args {
                label: flags.label,
                join_on: flags.join_on,
                dir: flags.dir,
                tables: flags.tables,
            };
            Ok(steps::init::init(&args, &mut std::io::stdout())?.exit_code())
        }
        Command::Auth(flags) => {
            let mut out = std::io::stdout();
            let outcome = one_thread()?.block_on(steps::auth::auth(flags.format, &mut out))?;
            Ok(outcome.exit_code())
        }
        Command::Watchdog => {
            serin::process::watchdog(std::io::stdin().lock())?;
            Ok(code::DONE)
        }
    }
}

fn lint(flags: LintFlags) -> Result<u8> {
    if let Some(check) = &flags.explain {
        println!("{}", checks::explain(check)?);
        return Ok(code::DONE);
    }
    if flags.infer || flags.update {
        use steps::schema::{Do, schema};
        let what = if flags.infer { Do::Infer } else { Do::Update };
        let config = Config::read(&flags.config.config)?;
        let out = &mut std::io::stdout();
        let outcome = one_thread()?.block_on(schema(&config, what, flags.dry_run, out))?;
        return Ok(outcome.exit_code());
    }
    if flags.dry_run {
        return Err(Input::new("`--dry-run` is for `--infer` and `--update`").into());
    }
    let config = Config::read(&flags.config.config)?;
    if (flags.project.is_none() || flags.region.is_none())
        && steps::lint::asks_for_champion(&config)
    {
        let message =
            "`lint.drift` looks for the champion, and needs `--project` and `--region` for it";
        return Err(Input::new(message)
            .hint("`lint.drift.against` may also name the file of a profile")
            .into());
    }
    let common = CommonFlags {
        project: flags.project.unwrap_or_default(),
        region: flags.region.unwrap_or_default(),
        config: flags.config,
    };
    step(common, async |ctx| {
        let outcome = steps::lint::lint(ctx, flags.source, &mut std::io::stdout()).await?;
        steps::finish(&ctx.workspace, "lint", outcome, &serde_json::json!({}))?;
        Ok(outcome)
    })
}

fn profile_args(flags: ProfileFlags) -> steps::profile::Args {
    steps::profile::Args {
        tables: flags.tables,
        format: flags.format,
        html: flags.html,
        column: flags.column,
        all: flags.all,
        label: flags.label,
        dialect: read::Dialect {
            delimiter: flags.delimiter,
            encoding: flags.encoding,
            ..read::Dialect::default()
        },
        sketches: flags.sketches,
        merge: flags.merge,
    }
}

/// Runs a step that speaks to the cloud.
fn step(
    flags: CommonFlags,
    run: impl AsyncFnOnce(&Context) -> Result<steps::Outcome>,
) -> Result<u8> {
    let ctx = Context::open(&flags.config.config, flags.project, flags.region)?;
    Ok(one_thread()?.block_on(run(&ctx))?.exit_code())
}

async fn run(flags: RunFlags) -> Result<u8> {
    let [source] = <[PathBuf; 1]>::try_from(flags.sources)
        .map_err(|_| Input::new("one build is run at a time; only `--check` takes several"))?;
    let emulator = flags.emulator.clone();
    let options = cloudbuild::RunOptions {
        source,
        config: flags.config,
        substitutions: cloudbuild::parse_substitutions(&flags.substitutions)?,
        workspace: flags.workspace,
        state: flags.cloud.state,
        self_images: SelfImages {
            named: flags.cloud.own_images,
        },
        hosts: flags.cloud.hosts,
        emulator: flags.emulator,
        time_scale: flags.time_scale,
        faults: flags.cloud.faults,
        builds: flags.cloud.builds,
        seed_from: flags.cloud.seed_from,
        repositories: flags.cloud.repositories.into_iter().collect(),
        secrets: secrets(&flags.cloud.secrets)?,
        part: match flags.from {
            Some(step) => cloudbuild::Part::From(step),
            None if flags.only.is_empty() => cloudbuild::Part::All,
            None => cloudbuild::Part::Only(flags.only),
        },
        build_id: flags.build_id,
        submitted: flags.submitted,
        follow_links: flags.follow_links,
        format: flags.format,
    };
    let report = cloudbuild::run(options).await?;
    if flags.format == cloudbuild::Format::Json {
        return Ok(report.code);
    }
    let cloud = match emulator.as_deref() {
        Some(url) => summary::Cloud::Running { url },
        None => summary::Cloud::Stopped {
            state: &report.state,
        },
    };
    let summary = summary::summary(&Workspace::new(&report.workspace), &cloud)?;
    if !summary.is_empty() {
        print!("\n{summary}");
    }
    Ok(report.code)
}

fn check(flags: RunFlags) -> Result<u8> {
    if flags.as_written {
        for source in &flags.sources {
            println!("{}", printable::json(&cloudbuild::as_written(source)?));
        }
        return Ok(code::DONE);
    }
    let options = cloudbuild::CheckOptions {
        sources: flags.sources,
        substitutions: cloudbuild::parse_substitutions(&flags.substitutions)?,
        format: flags.format,
        build_id: flags.build_id,
        submitted: flags.submitted,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let code = cloudbuild::check(&options, &mut out)?;
    out.flush()?;
    Ok(code)
}

fn secrets(flags: &[String]) -> Result<Vec<cloudbuild::SecretFile>> {
    let files = flags.iter();
    files
        .map(|flag| cloudbuild::SecretFile::parse(flag))
        .collect()
}

async fn emulate(flags: EmulateFlags) -> Result<()> {
    let CloudFlags {
        state,
        own_images,
        faults,
        seed_from,
        repositories,
        secrets,
        builds,
        hosts,
    } = flags.cloud;
    if !hosts.is_empty() && builds != emulator::Builds::Host {
        return Err(
            Input::new("`--host` has builds run programs of this machine")
                .hint("allow that with `--builds=host`, or leave `--host` out")
                .into(),
        );
    }
    let secrets = self::secrets(&secrets)?.into_iter();
    let serin = std::env::current_exe().context("finding this program's own file")?;
    let groups = Groups::new(&serin).context("starting the watchdog")?;
    emulator::serve_until_interrupted(emulator::Options {
        state: state.unwrap_or_else(|| PathBuf::from(".serin")),
        port: flags.port,
        time_scale: flags.time_scale,
        pace: emulator::Pace::Always,
        serin,
        own_images: SelfImages { named: own_images },
        faults,
        seed: seed_from.map(|folder| Seed {
            folder,
            project: emulator::local_project(),
        }),
        builds: emulator::BuildSettings {
            allowed: builds,
            repositories: repositories.into_iter().collect(),
            secrets: secrets.map(|file| (file.name, file.path)).collect(),
            arguments: hosts.iter().map(|host| format!("--host={host}")).collect(),
        },
        groups,
        allowed_hosts: flags.allowed_hosts,
    })
    .await
}

async fn serve_model(flags: ServeFlags) -> Result<()> {
    let address = serve::Address::choose(flags.host, std::env::vars_os())?;
    let (model, _folder) = steps::model_files::local(&flags.model).await?;
    serve::serve(serve::Options {
        model,
        address,
        port: flags.port,
        health_route: flags.health_route,
        predict_route: flags.predict_route,
    })
    .await
}

/// A step waits for the cloud most of the time: one thread is enough.
fn one_thread() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn many_threads() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}
