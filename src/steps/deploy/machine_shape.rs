//! What the config asks of machines and of the endpoint, as Vertex AI is told it.

use anyhow::{Context as _, Result};

use crate::config::{Accelerator, Machines, Resources};
use crate::error::Input;
use crate::gcp::vertex::{CPU_UTILIZATION, DUTY_CYCLE, Endpoint, NewResources, RequestLogging};
use crate::steps::Context;

/// How often the logging is set anew where the endpoint changed in between.
const TRIES: u32 = 5;

/// What a version is to run on.
pub(super) fn wanted(resources: &Resources) -> NewResources {
    let machines = match resources {
        Resources::Pool(pool) => return NewResources::Pool(pool.clone()),
        Resources::Dedicated(machines) => machines.clone(),
    };
    let Machines {
        machine,
        accelerator,
        min_replicas,
        max_replicas,
        cpu_target,
        accelerator_target,
    } = machines;
    let targets = [
        (CPU_UTILIZATION, cpu_target),
        (DUTY_CYCLE, accelerator_target),
    ];
    NewResources::Dedicated {
        machine_type: machine,
        accelerator: accelerator.map(|Accelerator { kind, count }| (kind, count)),
        min_replicas,
        max_replicas,
        targets: targets
            .into_iter()
            .filter_map(|(metric, target)| Some((metric, target?)))
            .collect(),
    }
}

/// What the config asks to be logged.
pub(super) fn logging(ctx: &Context) -> Option<RequestLogging> {
    let asked = ctx.config.deploy.log_requests.as_ref()?;
    Some(RequestLogging::to(&asked.table, asked.sample))
}

/// What is logged now, where it is not what the config asks for.
pub(super) fn other_logging(ctx: &Context, endpoint: &Endpoint) -> Option<RequestLogging> {
    let asked = logging(ctx)?;
    let found = endpoint.predict_request_response_logging_config.as_ref();
    let is_so = found.is_some_and(|found| found.is_as(&asked));
    (!is_so).then_some(asked)
}

/// Lets the endpoint log what the config asks for; an endpoint that does already is left alone.
///
/// # Errors
/// When the cloud fails or refuses.
pub(super) async fn log_as_asked(ctx: &Context, mut endpoint: Endpoint) -> Result<Endpoint> {
    for tries in 1.. {
        let Some(asked) = other_logging(ctx, &endpoint) else {
            break;
        };
        let vertex = ctx.vertex();
        match vertex.endpoints_patch_logging(&endpoint, &asked).await {
            Ok(patched) => {
                println!("{}", told(&asked));
                return Ok(patched);
            }
            // Somebody else changed the endpoint in between.
            Err(e) if e.is_conflict() && tries < TRIES => {
                let found = vertex.endpoints_get(&endpoint.name).await?;
                endpoint = found.with_context(|| format!("{} is gone", endpoint.name))?;
            }
            Err(e) => return Err(e).context("setting what the endpoint logs"),
        }
    }
    Ok(endpoint)
}

/// As in `the endpoint logs 10% of its requests to bq://p.d.t`.
pub(super) fn told(logging: &RequestLogging) -> String {
    format!(
        "the endpoint logs {}% of its requests to {}",
        logging.sampling_rate * 100.0,
        logging.bigquery_destination.output_uri
    )
}

/// Refuses an endpoint without a host of its own where the config asks for one: an endpoint stays what it was made as.
///
/// # Errors
/// [`Input`] with the endpoint's place.
pub(super) fn check_dedicated(ctx: &Context, endpoint: &Endpoint) -> Result<(), Input> {
    if !ctx.config.deploy.dedicated_endpoint || endpoint.dedicated_endpoint_enabled {
        return Ok(());
    }
    let message = "the endpoint is no dedicated one, and stays what it was made as";
    Err(Input::new(message)
        .at(ctx.config.deploy.endpoint.place.clone())
        .hint("name an endpoint that is not there yet, or leave out `deploy.dedicated_endpoint`"))
}
