//! `serin serve`: what the default serving container runs.

use anyhow::Result;
use clap::Args;

use super::many_threads;
use crate::exit::code;
use crate::serve;
use crate::steps::model_files;

/// Serve a model directory; what the default serving container runs
///
/// Reads AIP_STORAGE_URI or --model, listens on AIP_HTTP_PORT, answers AIP_HEALTH_ROUTE and
/// AIP_PREDICT_ROUTE as Vertex AI's contract says: where they are not set, but AIP_ENDPOINT_ID and AIP_DEPLOYED_MODEL_ID are,
/// it is /v1/endpoints/ENDPOINT/deployedModels/MODEL, with :predict for predictions. Ends with SIGTERM after the open requests.
///
/// Listens on 127.0.0.1, and in a container on 0.0.0.0: where a variable AIP_… or K_SERVICE is set, as Vertex AI
/// and Cloud Run do. A request may hold 1,500,000 bytes and 10,000 instances, fewer where the model has more
/// than ten classes (100,000 scores). A client that takes more than ten seconds for a request's head is cut off, and one
/// that stops in the middle of a body or an answer after 30. What is too much at a time is answered with 429; the
/// health route is answered all the same.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The model directory, or a file of XGBoost's; a path or gs:// URI
    #[arg(long, value_name = "URI", env = "AIP_STORAGE_URI")]
    pub model: String,
    #[arg(long, default_value_t = 8080, env = "AIP_HTTP_PORT")]
    pub port: u16,
    /// The address to listen on [default: 127.0.0.1, in a container 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    /// Where health is asked for [default: /health, or Vertex AI's for the deployed model]
    #[arg(long, env = "AIP_HEALTH_ROUTE", value_parser = route)]
    pub health_route: Option<String>,
    /// Where instances are sent to [default: /predict, or Vertex AI's for the deployed model]
    #[arg(long, env = "AIP_PREDICT_ROUTE", value_parser = route)]
    pub predict_route: Option<String>,
}

fn route(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("expected a path that begins with `/`".into()),
    }
}

/// Serves the model until SIGTERM or SIGINT.
pub(super) fn command(flags: Flags) -> Result<u8> {
    many_threads()?.block_on(serve_model(flags))?;
    Ok(code::DONE)
}

async fn serve_model(flags: Flags) -> Result<()> {
    let address = serve::Address::choose(flags.host, std::env::vars_os())?;
    let variable = |name: &str| std::env::var(name).ok();
    let routes = serve::Routes::choose(flags.health_route, flags.predict_route, variable);
    let (model, _folder) = model_files::local(&flags.model).await?;
    serve::serve(serve::Options {
        model,
        address,
        port: flags.port,
        routes,
    })
    .await
}
