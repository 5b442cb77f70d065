//! Who calls: the ID token of a request, OpenID Connect's, as Google signs it for Scheduler, Pub/Sub and Eventarc.

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use super::keys::{Found, Keys};
use crate::clock::Timestamp;
use crate::gcp::certs::Jwk;

/// What Cloud Run leaves of a signature that it has checked.
const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";
/// How far the clocks of the signer and of this machine may differ, in seconds.
const SKEW: i64 = 60;
/// No token is longer, in bytes.
const LONGEST: usize = 16 << 10;

/// Who checks the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Trust {
    /// This server, by Google's keys
    Signature,
    /// Cloud Run, whose check of IAM has taken the signature away; only on a service that nobody may call without a token
    CloudRunIam,
}

/// What a token has to say.
pub(super) struct Expected {
    pub trust: Trust,
    /// Any of these.
    pub audiences: Vec<String>,
    /// The account's address.
    pub account: String,
}

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: StatusCode,
    pub why: String,
}

fn unauthorized(why: impl Into<String>) -> Refused {
    Refused {
        status: StatusCode::UNAUTHORIZED,
        why: why.into(),
    }
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
}

/// A token in its parts.
struct Token<'a> {
    /// What is signed.
    signed: &'a str,
    signature: &'a str,
    head: Head,
    claims: Claims,
}

impl<'a> Token<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            signed,
            signature,
            head: serde_json::from_slice(&decoded(head)?).ok()?,
            claims: serde_json::from_slice(&decoded(claims)?).ok()?,
        })
    }
}

/// Checks the token of a request.
///
/// # Errors
/// 401 for a wrong one, 403 for that of another account, 503 while there are no keys.
pub(super) async fn check(
    headers: &HeaderMap,
    expected: &Expected,
    keys: &Keys,
) -> Result<(), Refused> {
    let text = bearer(headers, expected.trust).ok_or_else(|| unauthorized("it has no token"))?;
    let token = Token::read(text).ok_or_else(|| unauthorized("its token is no ID token"))?;
    if token.head.alg != "RS256" {
        return Err(unauthorized("its token is not signed by RS256"));
    }
    match expected.trust {
        Trust::CloudRunIam if token.signature != REMOVED => {
            return Err(unauthorized(
                "its token did not come through Cloud Run's check of IAM",
            ));
        }
        Trust::CloudRunIam => {}
        Trust::Signature if token.signature == REMOVED => {
            return Err(unauthorized(
                "Cloud Run has taken the signature from its token: `--trust cloud-run-iam` accepts that",
            ));
        }
        Trust::Signature => match keys.find(&token.head.kid).await {
            Found::Key(key) if is_signed_by(&token, &key) => {}
            Found::Key(_) => return Err(unauthorized("the signature of its token is wrong")),
            Found::Unknown => return Err(unauthorized("its token is signed by an unknown key")),
            Found::Unavailable => {
                return Err(Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    why: "the keys of tokens cannot be had".to_owned(),
                });
            }
        },
    }
    let now = Timestamp::real_now().unix_micros() / 1_000_000;
    check_claims(&token.claims, expected, now)
}

fn bearer(headers: &HeaderMap, trust: Trust) -> Option<&str> {
    // Cloud Run looks there first, and passes it on likewise.
    let serverless = match trust {
        Trust::CloudRunIam => headers.get("x-serverless-authorization"),
        Trust::Signature => None,
    };
    let value = serverless.or_else(|| headers.get(header::AUTHORIZATION))?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_signed_by(token: &Token, key: &Jwk) -> bool {
    let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let verified = || {
        let (n, e) = (decoded(&key.n)?, decoded(&key.e)?);
        let signature = decoded(token.signature)?;
        let public = RsaPublicKeyComponents { n, e };
        let algorithm = &RSA_PKCS1_2048_8192_SHA256;
        public
            .verify(algorithm, token.signed.as_bytes(), &signature)
            .ok()
    };
    key.kty == "RSA" && verified().is_some()
}

fn check_claims(claims: &Claims, expected: &Expected, now: i64) -> Result<(), Refused> {
    if !matches!(
        claims.iss.as_str(),
        "https://accounts.google.com" | "accounts.google.com"
    ) {
        return Err(unauthorized("its token is none of Google's"));
    }
    if !expected.audiences.contains(&claims.aud) {
        return Err(unauthorized("its token is for another audience"));
    }
    if claims.exp.saturating_add(SKEW) < now {
        return Err(unauthorized("its token has expired"));
    }
    if claims.iat.saturating_sub(SKEW) > now {
        return Err(unauthorized("its token is of a time to come"));
    }
    if !claims.email_verified || !claims.email.eq_ignore_ascii_case(&expected.account) {
        return Err(Refused {
            status: StatusCode::FORBIDDEN,
            why: "its token is of another account".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected {
            trust: Trust::Signature,
            audiences: vec!["https://a".into()],
            account: "c@p.iam.gserviceaccount.com".into(),
        }
    }

    fn claims() -> Claims {
        Claims {
            iss: "https://accounts.google.com".into(),
            aud: "https://a".into(),
            exp: 1000,
            iat: 0,
            email: "c@p.iam.gserviceaccount.com".into(),
            email_verified: true,
        }
    }

    #[test]
    fn each_claim_counts() {
        let status = |claims: Claims, now| {
            check_claims(&claims, &expected(), now)
                .err()
                .map(|refused| refused.status.as_u16())
        };
        assert_eq!(status(claims(), 500), None);
        assert_eq!(status(claims(), 1060), None, "clocks may differ a little");
        assert_eq!(status(claims(), 1061), Some(401));
        assert_eq!(status(claims(), -61), Some(401));
        let other = |change: fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            status(claims, 500)
        };
        assert_eq!(
            other(|c| c.iss = "https://evil.example.com".into()),
            Some(401)
        );
        assert_eq!(other(|c| c.aud = "https://b".into()), Some(401));
        assert_eq!(other(|c| c.email = "d@p".into()), Some(403));
        assert_eq!(other(|c| c.email_verified = false), Some(403));
    }

    #[test]
    fn a_token_is_looked_for_where_its_reader_has_it() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "bearer a.b.c".parse().unwrap());
        headers.insert(
            "x-serverless-authorization",
            "Bearer d.e.f".parse().unwrap(),
        );
        assert_eq!(bearer(&headers, Trust::Signature), Some("a.b.c"));
        assert_eq!(bearer(&headers, Trust::CloudRunIam), Some("d.e.f"));
        headers.insert("authorization", "Basic a.b.c".parse().unwrap());
        assert_eq!(bearer(&headers, Trust::Signature), None);
    }

    #[test]
    fn what_is_no_token_is_told_from_one() {
        for text in ["", "a", "a.b", "..", "a.b.c", "e30.e30.e30"] {
            assert!(Token::read(text).is_none(), "{text}");
        }
    }
}
