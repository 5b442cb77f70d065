//! Names of Cloud KMS keys. Nothing is encrypted here and no key is looked up: the services check a
//! key's name, keep it and tell it.

use crate::emulator::wire::error::ApiError;

/// The key's location.
fn location(key: &str) -> Option<&str> {
    match key.split('/').collect::<Vec<_>>().as_slice() {
        [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            name,
        ] if [project, location, ring, name]
            .iter()
            .all(|p| !p.is_empty()) =>
        {
            Some(location)
        }
        _ => None,
    }
}

/// Whether a key may encrypt what is kept in `place`, a location by any service's name for it.
///
/// # Errors
/// `INVALID_ARGUMENT` for a name that is no key's, and for a key of another location.
pub(in crate::emulator) fn check(key: &str, place: &str) -> Result<(), ApiError> {
    let Some(location) = location(key) else {
        return Err(ApiError::invalid_argument(format!(
            "Invalid Cloud KMS key name \"{key}\": expected projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY."
        )));
    };
    // Cloud KMS has another name for one of Storage's multi-regions.
    let place = match place.to_ascii_lowercase() {
        place if place == "eu" => "europe".to_owned(),
        place => place,
    };
    if location != place {
        return Err(ApiError::invalid_argument(format!(
            "The Cloud KMS key \"{key}\" is in the location {location}, and what it is to encrypt is in {place}: both must be in the same one."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_in_full_and_of_the_same_location() {
        let key = |location| format!("projects/p/locations/{location}/keyRings/r/cryptoKeys/k");
        check(&key("us-central1"), "US-CENTRAL1").unwrap();
        check(&key("europe"), "EU").unwrap();
        for (key, place) in [
            (key("us"), "US-CENTRAL1"),
            (key(""), ""),
            ("k".to_owned(), "us"),
            (format!("{}/cryptoKeyVersions/1", key("us")), "us"),
        ] {
            assert_eq!(check(&key, place).unwrap_err().code, 400, "{key}");
        }
    }
}
