//! `endpoints.patch`: words, labels and the traffic split, under the endpoint's etag.

use std::sync::Arc;

use super::log::RequestLogging;
use super::{Endpoint, EndpointMessage, find};
use crate::emulator::vertex::Vertex;
use crate::emulator::vertex::models::stale;
use crate::emulator::vertex::names::{self, ResourceName};
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message;

pub(super) async fn patch(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["updateMask"])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let sent: EndpointMessage = parse_body(&request)?;
    find(&vertex, &resource)?;
    let allowed = [
        "trafficSplit",
        "labels",
        "displayName",
        "description",
        "predictRequestResponseLoggingConfig",
    ];
    let mask = message::update_mask(request.get("updateMask"), &allowed)?;
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(&vertex)?);
    let patched = vertex
        .core
        .store
        .update(&resource.key(), |endpoint: &mut Endpoint| {
            if !sent.etag.is_empty() && sent.etag != endpoint.etag {
                return Err(stale(&resource));
            }
            for field in mask {
                match field {
                    "trafficSplit" => {
                        endpoint.check_split(&sent.traffic_split, |id| endpoint.serves(id))?;
                        endpoint.traffic_split.clone_from(&sent.traffic_split);
                    }
                    "labels" => {
                        names::check_labels(&sent.labels)?;
                        endpoint.labels.clone_from(&sent.labels);
                    }
                    "displayName" => {
                        names::check_display_name(&sent.display_name, "endpoint.display_name")?;
                        endpoint.display_name.clone_from(&sent.display_name);
                    }
                    "description" => endpoint.description.clone_from(&sent.description),
                    _ => {
                        let config = &sent.predict_request_response_logging_config;
                        config.as_ref().map_or(Ok(()), RequestLogging::check)?;
                        endpoint.logging.clone_from(config);
                    }
                }
            }
            endpoint.updated = now;
            endpoint.etag = etag;
            Ok(endpoint.message(&vertex))
        })?;
    Ok(json(patched))
}
