//! The fields of a build's config: every one of the API's `Build`, with its type.
//!
//! Which strings take substitutions stands here too, so that one walk over the tree fills them in.

/// What a field holds.
#[derive(Clone, Copy)]
pub(in crate::cloudbuild) enum Kind {
    Text,
    /// A string in which substitutions are filled in.
    Template,
    /// Seconds, as in `3.5s`.
    Duration,
    Bool,
    Int32,
    /// Written as a string in the API's JSON.
    Int64,
    Enum(&'static [&'static str]),
    /// Names as the user wrote them, to strings.
    Map,
    Message(&'static Message),
    /// What the service writes itself and ignores in a config.
    Output,
    /// What may not stand in a file; the text says why.
    Refused(&'static str),
}

pub(in crate::cloudbuild) struct Field {
    /// As in the API's JSON; the snake_case form is taken too.
    pub(in crate::cloudbuild) name: &'static str,
    pub(in crate::cloudbuild) kind: Kind,
    pub(in crate::cloudbuild) list: bool,
}

pub(in crate::cloudbuild) struct Message {
    /// For messages, with its article.
    pub(in crate::cloudbuild) name: &'static str,
    pub(in crate::cloudbuild) fields: &'static [Field],
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        list: false,
    }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        list: true,
    }
}

use Kind::{Bool, Duration, Enum, Int32, Int64, Map, Output, Refused, Template, Text};

const fn message(message: &'static Message) -> Kind {
    Kind::Message(message)
}

pub(in crate::cloudbuild) static BUILD: Message = Message {
    name: "a build",
    fields: &[
        many("steps", message(&STEP)),
        one("timeout", Duration),
        one("queueTtl", Duration),
        many("images", Template),
        one("artifacts", message(&ARTIFACTS)),
        one("substitutions", Map),
        many("tags", Template),
        one("options", message(&OPTIONS)),
        one("availableSecrets", message(&AVAILABLE_SECRETS)),
        many("secrets", message(&SECRET)),
        one("logsBucket", Template),
        one("serviceAccount", Template),
        many("dependencies", message(&DEPENDENCY)),
        one("gitConfig", message(&GIT_CONFIG)),
        one(
            "source",
            Refused("the source is what is submitted, so the file may not name one"),
        ),
        one(
            "remoteConfig",
            Refused("a config that is kept elsewhere cannot be fetched here"),
        ),
        one("id", Output),
        one("name", Output),
        one("projectId", Output),
        one("status", Output),
        one("statusDetail", Output),
        one("results", Output),
        one("createTime", Output),
        one("startTime", Output),
        one("finishTime", Output),
        one("sourceProvenance", Output),
        one("buildTriggerId", Output),
        one("logUrl", Output),
        one("timing", Output),
        one("approval", Output),
        one("warnings", Output),
        one("failureInfo", Output),
    ],
};

static STEP: Message = Message {
    name: "a step",
    fields: &[
        one("name", Template),
        many("args", Template),
        many("env", Template),
        one("dir", Template),
        one("id", Text),
        many("waitFor", Text),
        one("entrypoint", Template),
        one("script", Text),
        one("automapSubstitutions", Bool),
        many("secretEnv", Text),
        many("volumes", message(&VOLUME)),
        one("timeout", Duration),
        one("allowFailure", Bool),
        many("allowExitCodes", Int32),
        many("results", message(&STEP_RESULT)),
        one("status", Output),
        one("timing", Output),
        one("pullTiming", Output),
        one("exitCode", Output),
    ],
};

static VOLUME: Message = Message {
    name: "a volume",
    fields: &[one("name", Text), one("path", Text)],
};

static STEP_RESULT: Message = Message {
    name: "a step's result",
    fields: &[
        one("name", Text),
        one("attestationType", Text),
        one("attestationContent", Text),
    ],
};

static OPTIONS: Message = Message {
    name: "the options",
    fields: &[
        many("env", Text),
        many("secretEnv", Text),
        many("volumes", message(&VOLUME)),
        one("substitutionOption", Enum(&["MUST_MATCH", "ALLOW_LOOSE"])),
        one("dynamicSubstitutions", Bool),
        one("automapSubstitutions", Bool),
        one(
            "machineType",
            Enum(&[
                "UNSPECIFIED",
                "N1_HIGHCPU_8",
                "N1_HIGHCPU_32",
                "E2_HIGHCPU_8",
                "E2_HIGHCPU_32",
                "E2_MEDIUM",
                "E2_STANDARD_2",
            ]),
        ),
        one("diskSizeGb", Int64),
        one(
            "logging",
            Enum(&[
                "LOGGING_UNSPECIFIED",
                "LEGACY",
                "GCS_ONLY",
                "STACKDRIVER_ONLY",
                "CLOUD_LOGGING_ONLY",
                "NONE",
            ]),
        ),
        one(
            "logStreamingOption",
            Enum(&["STREAM_DEFAULT", "STREAM_ON", "STREAM_OFF"]),
        ),
        one(
            "defaultLogsBucketBehavior",
            Enum(&[
                "DEFAULT_LOGS_BUCKET_BEHAVIOR_UNSPECIFIED",
                "REGIONAL_USER_OWNED_BUCKET",
                "LEGACY_BUCKET",
            ]),
        ),
        one(
            "requestedVerifyOption",
            Enum(&["NOT_VERIFIED", "VERIFIED", "BEST_EFFORT"]),
        ),
        many(
            "sourceProvenanceHash",
            Enum(&[
                "NONE",
                "SHA256",
                "MD5",
                "GO_MODULE_H1",
                "SHA512",
                "DIRSUM_SHA256",
            ]),
        ),
        one("pool", message(&POOL)),
        one("workerPool", Text),
        one("workerRelease", Text),
        many("rankedMachineSeries", Text),
        one("pubsubTopic", Text),
        one("enableStructuredLogging", Bool),
    ],
};

static POOL: Message = Message {
    name: "a pool",
    fields: &[one("name", Template)],
};

static AVAILABLE_SECRETS: Message = Message {
    name: "the available secrets",
    fields: &[
        many("secretManager", message(&SECRET_MANAGER)),
        many("inline", message(&INLINE_SECRET)),
    ],
};

static SECRET_MANAGER: Message = Message {
    name: "a secret of Secret Manager",
    fields: &[one("versionName", Template), one("env", Text)],
};

static INLINE_SECRET: Message = Message {
    name: "an inline secret",
    fields: &[one("kmsKeyName", Text), one("envMap", Map)],
};

static SECRET: Message = Message {
    name: "a secret",
    fields: &[one("kmsKeyName", Text), one("secretEnv", Map)],
};

static ARTIFACTS: Message = Message {
    name: "the artifacts",
    fields: &[
        many("images", Template),
        one("objects", message(&OBJECTS)),
        many("mavenArtifacts", message(&MAVEN)),
        many("pythonPackages", message(&PYTHON)),
        many("npmPackages", message(&NPM)),
        many("goModules", message(&GO)),
        many("genericArtifacts", message(&GENERIC)),
        many("oci", message(&OCI)),
    ],
};

static OBJECTS: Message = Message {
    name: "the objects",
    fields: &[
        one("location", Template),
        many("paths", Template),
        one("timing", Output),
    ],
};

static MAVEN: Message = Message {
    name: "a Maven artifact",
    fields: &[
        one("repository", Template),
        one("path", Text),
        one("deployFolder", Text),
        one("artifactId", Text),
        one("groupId", Text),
        one("version", Text),
    ],
};

static PYTHON: Message = Message {
    name: "a Python package",
    fields: &[one("repository", Template), many("paths", Text)],
};

static NPM: Message = Message {
    name: "an npm package",
    fields: &[one("repository", Template), one("packagePath", Text)],
};

static GO: Message = Message {
    name: "a Go module",
    fields: &[
        one("repositoryName", Template),
        one("repositoryLocation", Template),
        one("repositoryProjectId", Template),
        one("sourcePath", Text),
        one("modulePath", Text),
        one("moduleVersion", Text),
    ],
};

static GENERIC: Message = Message {
    name: "a generic artifact",
    fields: &[one("folder", Text), one("registryPath", Template)],
};

static OCI: Message = Message {
    name: "an OCI artifact",
    fields: &[
        one("file", Text),
        one("registryPath", Template),
        many("tags", Text),
    ],
};

static DEPENDENCY: Message = Message {
    name: "a dependency",
    fields: &[
        one("empty", Bool),
        one("gitSource", message(&GIT_SOURCE)),
        one("genericArtifact", message(&GENERIC_DEPENDENCY)),
    ],
};

static GIT_SOURCE: Message = Message {
    name: "a git source",
    fields: &[
        one("repository", message(&GIT_REPOSITORY)),
        one("revision", Text),
        one("recurseSubmodules", Bool),
        one("depth", Int64),
        one("destPath", Text),
        one("fetchTags", Bool),
    ],
};

static GIT_REPOSITORY: Message = Message {
    name: "a repository",
    fields: &[one("url", Text), one("developerConnect", Text)],
};

static GENERIC_DEPENDENCY: Message = Message {
    name: "a generic artifact",
    fields: &[one("resource", Text), one("destPath", Text)],
};

static GIT_CONFIG: Message = Message {
    name: "the git config",
    fields: &[one("http", message(&HTTP_CONFIG))],
};

static HTTP_CONFIG: Message = Message {
    name: "the HTTP config",
    fields: &[
        one("proxySecretVersionName", Text),
        one("proxySslCaInfo", message(&GCS_LOCATION)),
    ],
};

static GCS_LOCATION: Message = Message {
    name: "a Cloud Storage location",
    fields: &[
        one("bucket", Text),
        one("object", Text),
        one("generation", Int64),
    ],
};
