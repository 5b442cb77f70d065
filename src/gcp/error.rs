//! A request to the cloud that failed, after its retries.

/// What failed, as Google says it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{method} {resource}: {message} ({status}{}, {tries} {})", http.map(|h| format!(", HTTP {h}")).unwrap_or_default(), if *tries == 1 { "try" } else { "tries" })]
pub struct Error {
    /// Google's name of the method, as in `models.upload`.
    pub method: &'static str,
    pub resource: String,
    /// `None` where no answer came.
    pub http: Option<u16>,
    /// The canonical status, as in `NOT_FOUND`, or what happened to the connection.
    pub status: String,
    pub message: String,
    pub tries: u32,
}

impl Error {
    pub fn is_not_found(&self) -> bool {
        self.http == Some(404)
    }

    /// No answer came or the cloud failed: the effect may have taken place all the same.
    pub fn is_lost(&self) -> bool {
        self.http.is_none_or(|http| http == 429 || http >= 500)
    }

    /// Somebody else made or changed it first: 409, 412, or a stale etag's 400 FAILED_PRECONDITION.
    pub fn is_conflict(&self) -> bool {
        matches!(self.http, Some(409 | 412)) || self.status == "FAILED_PRECONDITION"
    }
}
