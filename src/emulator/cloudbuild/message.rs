//! The messages of Cloud Build's API, field by field, as requests may hold them.
//!
//! They are only read, strictly, and written back as JSON: what a build means is the runner's to know.
//! Output-only fields are taken whatever they hold, and forgotten.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::emulator::wire::message::Int64;

/// A field that only the service writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutputOnly;

impl Serialize for OutputOnly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for OutputOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

type Texts = Vec<String>;
type Map = BTreeMap<String, String>;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $($(#[$attribute])* pub(super) $field: $type,)*
        }
    )*};
}

/// Enums in the order of their numbers.
macro_rules! words {
    ($($name:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum $name {
            $(#[serde(rename = $text)] $variant,)*
        }
    )*};
}

messages! {
    Build {
        steps: Vec<BuildStep>,
        timeout: String,
        queue_ttl: String,
        images: Texts,
        artifacts: Option<Artifacts>,
        substitutions: Map,
        tags: Texts,
        options: Option<BuildOptions>,
        available_secrets: Option<Secrets>,
        secrets: Vec<Secret>,
        logs_bucket: String,
        service_account: String,
        dependencies: Vec<Dependency>,
        git_config: Option<GitConfig>,
        source: Option<Source>,
        id: OutputOnly,
        name: OutputOnly,
        project_id: OutputOnly,
        status: OutputOnly,
        status_detail: OutputOnly,
        results: OutputOnly,
        create_time: OutputOnly,
        start_time: OutputOnly,
        finish_time: OutputOnly,
        source_provenance: OutputOnly,
        build_trigger_id: OutputOnly,
        log_url: OutputOnly,
        timing: OutputOnly,
        approval: OutputOnly,
        warnings: OutputOnly,
        failure_info: OutputOnly,
    }

    BuildStep {
        name: String,
        args: Texts,
        env: Texts,
        dir: String,
        id: String,
        wait_for: Texts,
        entrypoint: String,
        script: String,
        automap_substitutions: Option<bool>,
        secret_env: Texts,
        volumes: Vec<Volume>,
        timeout: String,
        allow_failure: bool,
        allow_exit_codes: Vec<i32>,
        results: Vec<StepResult>,
        status: OutputOnly,
        timing: OutputOnly,
        pull_timing: OutputOnly,
        exit_code: OutputOnly,
    }

    Volume { name: String, path: String }

    StepResult { name: String, attestation_type: String, attestation_content: String }

    BuildOptions {
        env: Texts,
        secret_env: Texts,
        volumes: Vec<Volume>,
        substitution_option: Option<SubstitutionOption>,
        dynamic_substitutions: bool,
        automap_substitutions: Option<bool>,
        machine_type: Option<MachineType>,
        disk_size_gb: Option<Int64>,
        logging: Option<Logging>,
        log_streaming_option: Option<LogStreamingOption>,
        default_logs_bucket_behavior: Option<DefaultLogsBucketBehavior>,
        requested_verify_option: Option<VerifyOption>,
        source_provenance_hash: Vec<HashType>,
        pool: Option<PoolOption>,
        worker_pool: String,
        worker_release: String,
        ranked_machine_series: Vec<MachineSeries>,
        pubsub_topic: String,
        enable_structured_logging: bool,
        resolved_worker_release: OutputOnly,
    }

    PoolOption { name: String, worker_release: OutputOnly, resolved_worker_release: OutputOnly }

    Artifacts {
        images: Texts,
        objects: Option<ArtifactObjects>,
        maven_artifacts: Vec<MavenArtifact>,
        python_packages: Vec<PythonPackage>,
        npm_packages: Vec<NpmPackage>,
        go_modules: Vec<GoModule>,
        generic_artifacts: Vec<GenericArtifact>,
        oci: Vec<Oci>,
    }

    ArtifactObjects { location: String, paths: Texts, timing: OutputOnly }

    MavenArtifact {
        repository: String,
        path: String,
        deploy_folder: String,
        artifact_id: String,
        group_id: String,
        version: String,
    }

    PythonPackage { repository: String, paths: Texts }

    NpmPackage { repository: String, package_path: String }

    GoModule {
        repository_name: String,
        repository_location: String,
        repository_project_id: String,
        source_path: String,
        module_path: String,
        module_version: String,
    }

    GenericArtifact { folder: String, registry_path: String }

    Oci { file: String, registry_path: String, tags: Texts }

    Secrets { secret_manager: Vec<SecretManagerSecret>, inline: Vec<InlineSecret> }

    SecretManagerSecret { version_name: String, env: String }

    InlineSecret { kms_key_name: String, env_map: Map }

    Secret { kms_key_name: String, secret_env: Map }

    Dependency {
        empty: bool,
        git_source: Option<GitSourceDependency>,
        generic_artifact: Option<GenericArtifactDependency>,
    }

    GitSourceDependency {
        repository: Option<GitSourceRepository>,
        revision: String,
        recurse_submodules: bool,
        depth: Option<Int64>,
        dest_path: String,
        fetch_tags: bool,
    }

    GitSourceRepository { url: String, developer_connect: String }

    GenericArtifactDependency { resource: String, dest_path: String }

    GitConfig { http: Option<HttpConfig> }

    HttpConfig { proxy_secret_version_name: String }

    Source {
        storage_source: Option<StorageSource>,
        repo_source: Option<RepoSource>,
        git_source: Option<GitSource>,
        storage_source_manifest: Option<StorageSourceManifest>,
        connected_repository: Option<ConnectedRepository>,
        developer_connect_config: Option<DeveloperConnectConfig>,
    }

    StorageSource {
        bucket: String,
        object: String,
        generation: Option<Int64>,
        source_fetcher: Option<SourceFetcher>,
    }

    RepoSource {
        project_id: String,
        repo_name: String,
        branch_name: String,
        tag_name: String,
        commit_sha: String,
        dir: String,
        invert_regex: bool,
        substitutions: Map,
    }

    GitSource { url: String, dir: String, revision: String }

    StorageSourceManifest { bucket: String, object: String, generation: Option<Int64> }

    ConnectedRepository { repository: String, dir: String, revision: String }

    DeveloperConnectConfig { git_repository_link: String, dir: String, revision: String }

    BuildTrigger {
        name: String,
        description: String,
        tags: Texts,
        disabled: bool,
        filter: String,
        substitutions: Map,
        service_account: String,
        approval_config: Option<ApprovalConfig>,
        included_files: Texts,
        ignored_files: Texts,
        include_build_logs: Option<IncludeBuildLogs>,
        event_type: Option<EventType>,
        filename: String,
        build: Option<Build>,
        git_file_source: Option<GitFileSource>,
        autodetect: bool,
        source_to_build: Option<GitRepoSource>,
        trigger_template: Option<RepoSource>,
        github: Option<GitHubEventsConfig>,
        repository_event_config: Option<RepositoryEventConfig>,
        developer_connect_event_config: Option<DeveloperConnectEventConfig>,
        bitbucket_server_trigger_config: Option<BitbucketServerTriggerConfig>,
        pubsub_config: Option<PubsubConfig>,
        webhook_config: Option<WebhookConfig>,
        id: OutputOnly,
        create_time: OutputOnly,
        resource_name: OutputOnly,
    }

    ApprovalConfig { approval_required: bool }

    GitFileSource {
        path: String,
        uri: String,
        repository: String,
        revision: String,
        repo_type: Option<RepoType>,
        github_enterprise_config: String,
        bitbucket_server_config: String,
    }

    GitRepoSource {
        uri: String,
        repository: String,
        #[serde(rename = "ref")]
        reference: String,
        repo_type: Option<RepoType>,
        github_enterprise_config: String,
        bitbucket_server_config: String,
    }

    GitHubEventsConfig {
        owner: String,
        name: String,
        push: Option<PushFilter>,
        pull_request: Option<PullRequestFilter>,
        installation_id: Option<Int64>,
        enterprise_config_resource_name: String,
    }

    RepositoryEventConfig {
        repository: String,
        push: Option<PushFilter>,
        pull_request: Option<PullRequestFilter>,
        repository_type: OutputOnly,
    }

    DeveloperConnectEventConfig {
        git_repository_link: String,
        push: Option<PushFilter>,
        pull_request: Option<PullRequestFilter>,
        git_repository_link_type: OutputOnly,
    }

    BitbucketServerTriggerConfig {
        bitbucket_server_config_resource: String,
        project_key: String,
        repo_slug: String,
        push: Option<PushFilter>,
        pull_request: Option<PullRequestFilter>,
        bitbucket_server_config: OutputOnly,
    }

    PushFilter { branch: String, tag: String, invert_regex: bool }

    PullRequestFilter {
        branch: String,
        comment_control: Option<CommentControl>,
        invert_regex: bool,
    }

    PubsubConfig {
        topic: String,
        service_account_email: String,
        subscription: OutputOnly,
        state: OutputOnly,
    }

    WebhookConfig { secret: String, state: OutputOnly }

    RunBuildTriggerRequest { project_id: String, trigger_id: String, source: Option<RepoSource> }

    /// Of `:cancel` and `:retry`: what the path says already.
    BuildRequest { project_id: String, id: String, name: String }

    ApproveBuildRequest { approval_result: Option<ApprovalResult> }

    ApprovalResult {
        decision: Option<Decision>,
        comment: String,
        url: String,
        approver_account: OutputOnly,
        approval_time: OutputOnly,
    }
}

words! {
    SubstitutionOption { MustMatch = "MUST_MATCH", AllowLoose = "ALLOW_LOOSE" }

    MachineType {
        Unspecified = "UNSPECIFIED",
        N1Highcpu8 = "N1_HIGHCPU_8",
        N1Highcpu32 = "N1_HIGHCPU_32",
        E2Highcpu8 = "E2_HIGHCPU_8",
        E2Highcpu32 = "E2_HIGHCPU_32",
        E2Medium = "E2_MEDIUM",
        E2Standard2 = "E2_STANDARD_2",
    }

    Logging {
        Unspecified = "LOGGING_UNSPECIFIED",
        Legacy = "LEGACY",
        GcsOnly = "GCS_ONLY",
        StackdriverOnly = "STACKDRIVER_ONLY",
        CloudLoggingOnly = "CLOUD_LOGGING_ONLY",
        None = "NONE",
    }

    LogStreamingOption { Default = "STREAM_DEFAULT", On = "STREAM_ON", Off = "STREAM_OFF" }

    DefaultLogsBucketBehavior {
        Unspecified = "DEFAULT_LOGS_BUCKET_BEHAVIOR_UNSPECIFIED",
        RegionalUserOwnedBucket = "REGIONAL_USER_OWNED_BUCKET",
        LegacyBucket = "LEGACY_BUCKET",
    }

    VerifyOption { NotVerified = "NOT_VERIFIED", Verified = "VERIFIED", BestEffort = "BEST_EFFORT" }

    HashType {
        None = "NONE",
        Sha256 = "SHA256",
        Md5 = "MD5",
        GoModuleH1 = "GO_MODULE_H1",
        Sha512 = "SHA512",
        DirsumSha256 = "DIRSUM_SHA256",
    }

    MachineSeries {
        Unspecified = "MACHINE_SERIES_UNSPECIFIED",
        E = "MACHINE_SERIES_E",
        N = "MACHINE_SERIES_N",
        C = "MACHINE_SERIES_C",
    }

    SourceFetcher {
        Unspecified = "SOURCE_FETCHER_UNSPECIFIED",
        Gsutil = "GSUTIL",
        GcsFetcher = "GCS_FETCHER",
    }

    IncludeBuildLogs {
        Unspecified = "INCLUDE_BUILD_LOGS_UNSPECIFIED",
        WithStatus = "INCLUDE_BUILD_LOGS_WITH_STATUS",
    }

    EventType {
        Unspecified = "EVENT_TYPE_UNSPECIFIED",
        Repo = "REPO",
        Webhook = "WEBHOOK",
        Pubsub = "PUBSUB",
        Manual = "MANUAL",
    }

    RepoType {
        Unknown = "UNKNOWN",
        CloudSourceRepositories = "CLOUD_SOURCE_REPOSITORIES",
        Github = "GITHUB",
        BitbucketServer = "BITBUCKET_SERVER",
        Gitlab = "GITLAB",
        BitbucketCloud = "BITBUCKET_CLOUD",
    }

    CommentControl {
        Disabled = "COMMENTS_DISABLED",
        Enabled = "COMMENTS_ENABLED",
        EnabledForExternal = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY",
    }

    Decision { Unspecified = "DECISION_UNSPECIFIED", Approved = "APPROVED", Rejected = "REJECTED" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::cloudbuild::to_json;
    use crate::emulator::wire::json::parse_value;

    #[test]
    fn a_build_is_read_strictly_and_loses_what_only_the_service_writes() {
        let build: Build = parse_value(json!({
            "steps": [{"name": "serin", "args": [""], "automapSubstitutions": false, "exitCode": "x"}],
            "substitutions": {"_EMPTY": ""},
            "options": {"disk_size_gb": 100, "logging": 1, "dynamicSubstitutions": false},
            "status": ["whatever"], "id": {"no": 1},
        }))
        .unwrap();
        assert_eq!(
            to_json(&build),
            json!({
                "steps": [{"name": "serin", "args": [""], "automapSubstitutions": false}],
                "substitutions": {"_EMPTY": ""},
                "options": {"diskSizeGb": "100", "logging": "LEGACY"},
            })
        );
        for (wrong, message) in [
            (
                json!({"steps": [{"foo": 1}]}),
                "Invalid JSON payload received. Unknown name \"foo\" at 'steps[0]': Cannot find field.",
            ),
            (
                json!({"options": {"machineType": "HUGE"}}),
                "Invalid value at 'options.machine_type' (MachineType), \"HUGE\"",
            ),
            (
                json!({"tags": [7]}),
                "Invalid value at 'tags[0]' (TYPE_STRING), 7",
            ),
        ] {
            let error = parse_value::<Build>(wrong).unwrap_err();
            assert_eq!(error.message, message);
        }
    }
}
