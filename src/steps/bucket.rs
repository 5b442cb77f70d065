//! The bucket of `serin.yaml`: made where a step may make it, and what to do where it cannot be used.
//!
//! Who may use objects may not always read the bucket (`roles/storage.objectUser` lacks
//! `storage.buckets.get`), so the bucket itself is asked for only with `create_bucket`. Otherwise the
//! first request for an object tells whether it is there.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Context;
use crate::error::Input;
use crate::gcp::{Error, Precondition, is_of_key};

impl Context {
    /// Makes the bucket where `create_bucket` says that a step may and it is not there yet.
    pub(super) async fn find_or_create_bucket(&self) -> Result<()> {
        if !self.config.create_bucket {
            return Ok(());
        }
        let (storage, bucket) = (self.storage(), &self.config.bucket);
        match storage.buckets_get(bucket).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            // It is there. Who may not look at it may still use its objects.
            Err(e) if e.http == Some(403) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        match storage
            .buckets_insert(&self.project, bucket, &self.region)
            .await
        {
            Ok(_) => println!("created the bucket gs://{}", **bucket),
            // Another step or build was faster; that it is ours shows in the next request.
            Err(e) if e.is_conflict() => {}
            Err(e) if e.http == Some(403) => {
                let message = format!(
                    "the bucket `gs://{}` does not exist, and this account may not make it: {}",
                    **bucket, e.message
                );
                let hint = format!("make it: {}", self.line_that_makes_the_bucket());
                return Err(Input::new(message)
                    .at(bucket.place.clone())
                    .hint(hint)
                    .into());
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Uploads a file under a name that its content decides, unless it is there already, encrypted as the
    /// config says.
    pub(super) async fn find_or_upload(&self, name: &str, path: &Path) -> Result<bool> {
        let (storage, bucket) = (self.storage(), &self.config.bucket);
        let found = storage.objects_get(bucket, name).await;
        let pre = match found.map_err(|e| self.of_bucket(e))? {
            None => Precondition::Absent,
            Some(object) => match self.encryption_key() {
                Some(key) if !is_of_key(&object.kms_key_name, key) => {
                    Precondition::Generation(object.generation)
                }
                _ => return Ok(false),
            },
        };
        let content_type = "application/octet-stream";
        let uploaded = storage
            .objects_insert_file(bucket, name, content_type, path, pre)
            .await;
        match uploaded {
            Ok(_) => Ok(true),
            Err(e) if e.is_conflict() => Ok(false),
            Err(e) => {
                Err(self.of_bucket(e)).with_context(|| format!("uploading {}", self.gs(name)))
            }
        }
    }

    /// The error of a request for an object of the bucket: one about the bucket itself is the user's to set
    /// right, in `serin.yaml` or by a grant. Not for a request that answers 404 where only the object is
    /// missing.
    pub(super) fn of_bucket(&self, error: Error) -> anyhow::Error {
        let bucket = &self.config.bucket;
        let (message, hint) = match error.http {
            Some(404) => {
                let making = self.line_that_makes_the_bucket();
                (
                    format!("the bucket `gs://{}` does not exist", **bucket),
                    format!("make it: {making}, or let serin make it with `create_bucket: true`"),
                )
            }
            Some(403) => (
                format!("this account may not use the bucket: {}", error.message),
                "grant it `roles/storage.objectUser` there, or name another bucket".to_owned(),
            ),
            _ => return error.into(),
        };
        Input::new(message)
            .at(bucket.place.clone())
            .hint(hint)
            .into()
    }

    fn line_that_makes_the_bucket(&self) -> String {
        let key = self.encryption_key();
        let key = key.map(|key| format!(" --default-encryption-key={key}"));
        format!(
            "`gcloud storage buckets create gs://{} --project={} --location={} --uniform-bucket-level-access{}`",
            *self.config.bucket,
            self.project,
            self.region,
            key.unwrap_or_default()
        )
    }
}
