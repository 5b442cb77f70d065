//! Tokens by which a receiver of calls knows who calls, as Google signs them for Cloud Scheduler, Pub/Sub and
//! Eventarc: OpenID Connect's ID tokens, RS256, by a key of this start's own.
//!
//! The keys are answered at the paths of Google's, `/oauth2/v3/certs` (a JWKS) and `/oauth2/v1/certs` (certificates by
//! their key's id). The times of a token are the operating system's: who checks one knows of no other clock.

mod rsa;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Core;
use super::numbers::fnv;
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{self, Answer, Request, Route};

/// Who signs, as receivers compare it.
const ISSUER: &str = "https://accounts.google.com";
/// How long a token is good.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long receivers may keep the keys.
const KEYS_KEPT: &str = "public, max-age=300, must-revalidate, no-transform";
/// What Cloud Run leaves of a token's signature once it has checked it.
const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// Signs tokens by a key that is made when the first is asked for.
#[derive(Default)]
pub(in crate::emulator) struct Signer(OnceLock<Result<Key, String>>);

/// The key, with what receivers need of it.
struct Key {
    pair: ring::rsa::KeyPair,
    id: String,
    /// The modulus and the exponent, unsigned and big-endian.
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    /// In PEM.
    certificate: String,
}

impl Key {
    fn make() -> anyhow::Result<Self> {
        let made = rsa::make()?;
        let pkcs8 = rustls::pki_types::PrivatePkcs8KeyDer::from(made.pkcs8);
        let pair = ring::rsa::KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der())
            .map_err(|e| anyhow::anyhow!("{e}"))
            .context("reading the key of the emulator's tokens")?;
        let named = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_RSA_SHA256)?;
        let parameters = rcgen::CertificateParams::new(vec!["federated-signon.localhost".into()])?;
        let certificate = pem(parameters.self_signed(&named)?.der());
        let id = format!("{:016x}", fnv(&format!("{:?}", made.modulus)));
        Ok(Self {
            pair,
            id,
            modulus: made.modulus,
            exponent: made.exponent,
            certificate,
        })
    }

    /// A token of these claims.
    fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let head = json!({"alg": "RS256", "kid": self.id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let padding = &ring::signature::RSA_PKCS1_SHA256;
        let random = ring::rand::SystemRandom::new();
        self.pair
            .sign(padding, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| ApiError::internal("The emulator cannot sign a token."))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn jwk(&self) -> Value {
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
    }
}

/// A certificate in the form that v1 of the keys has.
fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(64).collect();
    let lines: Vec<&str> = lines
        .into_iter()
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

impl Signer {
    /// The key; the first call makes it, which takes a second at most. Blocks.
    fn key(&self) -> Result<&Key, ApiError> {
        let made = self
            .0
            .get_or_init(|| Key::make().map_err(|e| format!("{e:#}")));
        made.as_ref().map_err(|why| ApiError::internal(why.clone()))
    }
}

/// An ID token of a service account for an audience.
///
/// # Errors
/// `INTERNAL` where no key can be made.
pub(in crate::emulator) async fn token(
    core: &Arc<Core>,
    email: &str,
    audience: &str,
) -> Result<String, ApiError> {
    let now = Timestamp::real_now().unix_micros() / 1_000_000;
    let subject = 100_000_000_000_000_000_000_u128 + u128::from(fnv(email));
    let claims = json!({
        "iss": ISSUER, "aud": audience, "azp": subject.to_string(), "sub": subject.to_string(),
        "email": email, "email_verified": true, "iat": now, "exp": now + LIFETIME.as_secs() as i64,
    });
    on_key(core, move |key| key.sign(&claims)).await
}

/// A token as Cloud Run passes it on once it has checked it itself.
pub(in crate::emulator) fn without_signature(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    format!("{signed}.{REMOVED}")
}

/// Does something with the key where making it holds up nobody else.
async fn on_key<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Key) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let core = core.clone();
    tokio::task::spawn_blocking(move || work(core.signer.key()?))
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
}

/// The paths of the keys.
pub(in crate::emulator) fn routes() -> Vec<Route<Core>> {
    vec![
        http::route(Method::GET, "oauth2/v3/certs", async |core, request| {
            keys(core, request, |key| json!({"keys": [key.jwk()]})).await
        }),
        http::route(Method::GET, "oauth2/v1/certs", async |core, request| {
            keys(core, request, |key| json!({&key.id: key.certificate})).await
        }),
    ]
}

async fn keys(
    core: Arc<Core>,
    _request: Request,
    told: impl FnOnce(&Key) -> Value + Send + 'static,
) -> Answer {
    let keys = on_key(&core, move |key| Ok(told(key))).await?;
    let mut answer = http::document(
        StatusCode::OK,
        "application/json; charset=UTF-8",
        keys.to_string(),
    );
    let kept = HeaderValue::from_static(KEYS_KEPT);
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_against_the_key_that_is_told() {
        let key = Key::make().unwrap();
        let token = key.sign(&json!({"aud": "a"})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let jwk = key.jwk();
        let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let public = ring::signature::RsaPublicKeyComponents {
            n: number("n"),
            e: number("e"),
        };
        let algorithm = &ring::signature::RSA_PKCS1_2048_8192_SHA256;
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public
            .verify(algorithm, signed.as_bytes(), &signature)
            .unwrap();
        assert!(public.verify(algorithm, b"else", &signature).is_err());
        assert!(key.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        let stripped = without_signature(&token);
        assert_eq!(stripped, format!("{signed}.SIGNATURE_REMOVED_BY_GOOGLE"));
    }
}
